"""rkllm_load_lora: put a LoRA adapter beside the loaded model; a run names it in lora_params.

C: int rkllm_load_lora(LLMHandle handle, RKLLMLoraAdapter *lora_adapter)
"""

from __future__ import annotations

import os
from ctypes import byref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rkllmd import paths
from rkllmd.context import Invocation
from rkllmd.fingerprint import identify
from rkllmd.handles import Model
from rkllmd.method import Kind, Struct, method
from rkllmd.rkllm._common import LLM, success

if TYPE_CHECKING:
    from rkllmd.dispatch import Converted


def _check(invocation: Invocation, model: Model, lora_adapter: Converted) -> None:
    allowed = invocation.context.config.allowed_directories
    given = lora_adapter.json["lora_adapter_path"]
    resolved = paths.readable_file(given, allowed, f"{lora_adapter.path}.lora_adapter_path")
    lora_adapter.c.lora_adapter_path = bytes(resolved)


@method(
    Kind.NPU,
    [LLM, Struct("lora_adapter", "RKLLMLoraAdapter", required_fields=["lora_adapter_path"])],
    check=_check,
)
def load_lora(invocation: Invocation, model: Model, lora_adapter: Converted) -> dict[str, Any]:
    """Load the adapter under ``lora_adapter_name`` (default: the file's name without its ending), ``scale`` (1.0)."""
    _check(invocation, model, lora_adapter)  # again: the file may have gone while the call waited
    adapter = lora_adapter.c
    if adapter.lora_adapter_name is None:
        adapter.lora_adapter_name = Path(lora_adapter.json["lora_adapter_path"]).stem.encode()
    if "scale" not in lora_adapter.json:
        adapter.scale = 1.0  # zero, as a field left out would otherwise be, is an adapter without effect
    file = identify(os.fsdecode(adapter.lora_adapter_path))
    invocation.runtime.call("rkllm_load_lora", model.pointer, byref(lora_adapter.c))
    name = adapter.lora_adapter_name.decode()
    model.lora_files[name] = file
    model.keep_alive.append(lora_adapter)
    model.lora_adapters.append(name)
    return success(lora_adapter_name=name)

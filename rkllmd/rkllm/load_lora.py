"""rkllm_load_lora: load a LoRA adapter beside the model; a run chooses it by lora_params.

C: int rkllm_load_lora(LLMHandle handle, RKLLMLoraAdapter *lora_adapter)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.calls.declaration import Kind, Struct, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.errors import PermissionDenied
from rkllmd.json_types import JsonObject
from rkllmd.language import conversations
from rkllmd.language.model import Model
from rkllmd.language.models import model_trial
from rkllmd.language.models.loading import give_adapter, put_to_sleep, try_files
from rkllmd.language.models.recipe import make_adapter
from rkllmd.language.parts import Language
from rkllmd.machine import paths
from rkllmd.rkllm._common import LLM

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


def _check(language: Language, invocation: Invocation, model: Model, lora_adapter: Converted) -> None:
    config = language.config
    given = lora_adapter.json["lora_adapter_path"]
    where = f"{lora_adapter.path}.lora_adapter_path"
    resolved = paths.readable_file(given, config.allowed_directories, where, base=config.model_directory)
    lora_adapter.c.lora_adapter_path = bytes(resolved)


@method(
    Kind.NPU,
    [LLM, Struct("lora_adapter", "RKLLMLoraAdapter", required_fields=["lora_adapter_path"])],
    check=_check,
    alters="model",
)
def load_lora(language: Language, invocation: Invocation, model: Model, lora_adapter: Converted) -> JsonObject:
    """Load the adapter; defaults: ``lora_adapter_name`` is the file's name without its ending, ``scale`` is 1.0."""
    _check(language, invocation, model, lora_adapter)  # again: the file may have gone while the call waited
    adapter = make_adapter(lora_adapter.c, lora_adapter.json, lora_adapter.keep)
    item = model_trial.of_adapter(language, model, adapter)
    try_files(language, [] if item is None else [item])
    try:
        give_adapter(language, model, adapter)
    except PermissionDenied:  # no function of C takes an adapter away: the next call loads the model without it
        put_to_sleep(language, model)
        raise
    model.adapters.append(adapter)
    language.remembered.put(model)
    conversations.log_change(language, invocation, model, None, lora_adapter_name=adapter.name)
    return success(lora_adapter_name=adapter.name)

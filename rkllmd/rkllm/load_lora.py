"""rkllm_load_lora: load a LoRA adapter beside the model; a run chooses it by lora_params.

C: int rkllm_load_lora(LLMHandle handle, RKLLMLoraAdapter *lora_adapter)

A name means one adapter: the same file with the same scale is loaded once, another one needs another name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rkllmd.calls import authority
from rkllmd.calls.declaration import Kind, StructParameter, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.errors import InvalidParams, PermissionDenied
from rkllmd.json_types import JsonObject
from rkllmd.language import conversations
from rkllmd.language.model import Adapter, Model
from rkllmd.language.models import model_trial
from rkllmd.language.models.loading import put_to_sleep, try_files
from rkllmd.language.models.native import give_adapter
from rkllmd.language.models.recipe import make_adapter
from rkllmd.language.parts import Language
from rkllmd.machine import paths
from rkllmd.machine.disk.seeing import Viewer
from rkllmd.machine.files import identify
from rkllmd.rkllm._common import LLM

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


# No function of C takes an adapter away, each takes memory, and all are loaded again after a sleep of the model.
MOST_ADAPTERS: Final = 32


def _check(language: Language, invocation: Invocation, model: Model, lora_adapter: Converted) -> None:
    _resolve(language, invocation, lora_adapter)


def _resolve(language: Language, invocation: Invocation, lora_adapter: Converted) -> Mapping[str, Viewer]:
    """Give C the file's path; return who has to be allowed to read it."""
    config, viewer = language.config, authority.viewer(invocation.client, language.config)
    given = lora_adapter.json["lora_adapter_path"]
    where = f"{lora_adapter.path}.lora_adapter_path"
    resolved = paths.readable_file(
        given,
        config.allowed_directories,
        where,
        base=config.model_directory,
        viewer=viewer,
    )
    lora_adapter.c.lora_adapter_path = bytes(resolved)
    return {} if viewer is None else {str(resolved): viewer}


@method(
    Kind.NPU,
    [LLM, StructParameter("lora_adapter", "RKLLMLoraAdapter", required_fields=["lora_adapter_path"])],
    check=_check,
    alters="model",
)
def load_lora(language: Language, invocation: Invocation, model: Model, lora_adapter: Converted) -> JsonObject:
    """Load the adapter; defaults: ``lora_adapter_name`` is the file's name without its ending, ``scale`` is 1.0."""
    seen_by = _resolve(language, invocation, lora_adapter)  # again: the file may have gone while the call waited
    adapter = make_adapter(lora_adapter.c, lora_adapter.json, lora_adapter.keep, seen_by)
    if _is_loaded(model, adapter, lora_adapter.path):
        return success(lora_adapter_name=adapter.name, already_loaded=True)
    try_files(language, [model_trial.of_adapter(language, model, adapter)], seen_by)
    try:
        give_adapter(language, model, adapter)
    except PermissionDenied:  # no function of C takes an adapter away: the next call loads the model without it
        put_to_sleep(language, model)
        raise
    model.adapters.append(adapter)
    language.remembered.keep(model)
    conversations.log_change(language, invocation, model, None, lora_adapter_name=adapter.name)
    return success(lora_adapter_name=adapter.name)


def _is_loaded(model: Model, adapter: Adapter, where: str) -> bool:
    """Return whether this very adapter is loaded. Raises InvalidParams where its name means another one.

    Raises PermissionDenied where no more may be loaded.
    """
    same_name = next((item for item in model.adapters if item.name == adapter.name), None)
    if same_name is not None:
        file = identify(os.fsdecode(adapter.struct.lora_adapter_path))
        if file == model.lora_files.get(adapter.name) and same_name.struct.scale == adapter.struct.scale:
            return True
        raise InvalidParams(
            f"{where}.lora_adapter_name: another adapter of this model has the name {adapter.name}, with another file "
            "or scale. Choose another name: C can't take an adapter away.",
            path=f"{where}.lora_adapter_name",
            keyword="uniqueItems",
        )
    if len(model.adapters) >= MOST_ADAPTERS:
        raise PermissionDenied(
            f"The model has {len(model.adapters)} adapters, which is the limit: load the model anew to use others.",
            limit=MOST_ADAPTERS,
            used=len(model.adapters),
        )
    return False

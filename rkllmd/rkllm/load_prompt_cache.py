"""rkllm_load_prompt_cache: load a prompt cache; runs then reuse the longest common prefix.

C: int rkllm_load_prompt_cache(LLMHandle handle, const char *prompt_cache_path)

``prompt_cache_path`` is an absolute path, or the name of a cache that a run of the same user has saved.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from rkllmd.calls import authority
from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.errors import PermissionDenied, RuntimeFailure
from rkllmd.json_types import JsonObject
from rkllmd.language import conversations
from rkllmd.language.model import Model
from rkllmd.language.models import model_trial
from rkllmd.language.models.loading import try_files
from rkllmd.language.models.native import give_strings
from rkllmd.language.parts import Language
from rkllmd.language.runs import prompt_cache_names
from rkllmd.machine import paths
from rkllmd.machine.disk.unchanged import unchanged
from rkllmd.rkllm._common import LLM

_WHERE = "$.prompt_cache_path"


def _check(language: Language, invocation: Invocation, model: Model, prompt_cache_path: str) -> None:
    # Whether a cache of this name exists is checked at this call's turn: the run that saves it may be waiting as well.
    if prompt_cache_names.is_name(prompt_cache_path):
        language.prompt_caches.check_name(prompt_cache_path, _WHERE)
    else:
        _resolve(language, invocation, prompt_cache_path)


def _resolve(language: Language, invocation: Invocation, prompt_cache_path: str) -> Path:
    config = language.config
    viewer = authority.viewer(invocation.client, config)
    path = paths.readable_file(prompt_cache_path, config.allowed_directories, _WHERE, viewer=viewer)
    language.prompt_caches.check_path(path, _WHERE)
    return path


@method(Kind.NPU, [LLM, Value("prompt_cache_path", {"type": "string", "minLength": 1})], check=_check, alters="model")
def load_prompt_cache(language: Language, invocation: Invocation, model: Model, prompt_cache_path: str) -> JsonObject:
    """Load a cache that a run with save_prompt_cache has written; release a loaded one before loading another."""
    if not prompt_cache_names.is_name(prompt_cache_path):
        resolved = _resolve(language, invocation, prompt_cache_path)  # again: it may have gone while the call waited
        viewer = authority.viewer(invocation.client, language.config)
        seen_by = {} if viewer is None else {str(resolved): viewer}
        try_files(language, [model_trial.of_prompt_cache(language, model, str(resolved))], seen_by)
        try:
            with unchanged([str(resolved)], language.config.allowed_directories, seen_by):
                _load(language, invocation, model, resolved)
        except PermissionDenied:
            with contextlib.suppress(RuntimeFailure):  # if it has not come so far, there is none
                language.runtime.call("rkllm_release_prompt_cache", model.pointer)
            raise
        model.prompt_cache, model.prompt_cache_path = None, str(resolved)
        language.remembered.keep(model)
        return success(prompt_cache_path=prompt_cache_path)
    cache = prompt_cache_names.to_load(language, invocation, model, prompt_cache_path, _WHERE)
    _load(language, invocation, model, cache.path)
    model.prompt_cache, model.prompt_cache_path = cache, None
    language.remembered.keep(model)
    language.prompt_caches.mark_used(cache)
    return success(prompt_cache_path=prompt_cache_path)


def _load(language: Language, invocation: Invocation, model: Model, path: Path) -> None:
    """Load the file; a conversation in the KV cache ends, since the portable runtime puts the file in its place."""
    with conversations.change(language, invocation, model, ends_own=True):
        give_strings(language.runtime, model, "rkllm_load_prompt_cache", [bytes(path)])

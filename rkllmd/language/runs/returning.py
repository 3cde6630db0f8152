"""Loads a model again that an earlier daemon had loaded when it crashed, at once and with its prompt cache.

Its cross-attention is gone, as after a sleep (``models/cross_attention.py``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from rkllmd.errors import RpcError
from rkllmd.language.caching.made_with import of_model as made_with_now
from rkllmd.language.models.loading import wake
from rkllmd.language.models.native import give_strings
from rkllmd.machine import paths
from rkllmd.machine.disk.unchanged import unchanged

if TYPE_CHECKING:
    from rkllmd.json_types import JsonObject
    from rkllmd.language.model import Model
    from rkllmd.language.models.bringing_back import Returning
    from rkllmd.language.parts import Language

log = structlog.get_logger()

# For errors: no client has written it.
_WHERE: Final = "$"


def load_again(language: Language, returning: Returning) -> None:
    """Load the model, unless somebody was faster, on the worker thread. Raises what ``wake`` raises."""
    model = returning.model
    if not model.is_alive or not model.is_asleep:
        return
    # If it is its load that crashes the daemon, the next one lets it sleep.
    language.remembered.keep(model)
    wake(language, model)
    if returning.prompt_cache is None:
        return
    try:
        _load_prompt_cache(language, model, returning.prompt_cache)
    except (RpcError, OSError, KeyError, TypeError) as error:
        reason = error.to_json() if isinstance(error, RpcError) else str(error)
        log.warning("prompt_cache_not_brought_back", handle=model.number, reason=reason)
    else:
        language.remembered.keep(model)


def _load_prompt_cache(language: Language, model: Model, remembered: JsonObject) -> None:
    """Load the prompt cache, which only saves time. Raises RpcError, OSError, and what a row without sense raises."""
    if "path" in remembered:
        # Only who may change the model has loaded a cache into it: its loader, or an operator, who sees no less.
        viewer = next(iter(model.seen_by.values()), None)
        path = paths.readable_file(remembered["path"], language.config.allowed_directories, _WHERE, viewer=viewer)
        language.prompt_caches.check_path(path, _WHERE)
        with unchanged([str(path)], language.config.allowed_directories, {} if viewer is None else {str(path): viewer}):
            _load(language, model, path)
        model.prompt_cache_path = str(path)
        return
    owner, name = str(remembered["owner"]), str(remembered["name"])
    made_with = next((cache.fingerprint for cache in language.prompt_caches.of(owner) if cache.name == name), {})
    lora = made_with.get("lora_adapter")
    now = made_with_now(language.runtime, model, None if lora is None else str(lora))
    cache = language.prompt_caches.open(owner, name, now, _WHERE)
    _load(language, model, cache.path)
    model.prompt_cache = cache


def _load(language: Language, model: Model, path: Path) -> None:
    give_strings(language.runtime, model, "rkllm_load_prompt_cache", [bytes(path)])

"""What a client's ``prompt_cache_path`` means: an absolute path, or the name of a cache of its own.

Whatever has no slash is a name; it belongs to the client's uid and lives in the daemon's cache directory
(``language/prompt_caches/store.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rkllmd.calls.invocation import Client, Invocation
from rkllmd.language.model import Model
from rkllmd.language.parts import Language
from rkllmd.language.prompt_caches.store import PromptCache, Saving
from rkllmd.language.runs.made_with import of_model as made_with_now
from rkllmd.machine import paths

if TYPE_CHECKING:
    from rkllmd.language.runs.run import Run


def is_name(given: Any) -> bool:
    """Return whether it is a name, and not a path."""
    return "/" not in str(given)


def owner_of(client: Client) -> str:
    """Return to whom the caches of a client belong."""
    return "daemon" if client.user is None else str(client.user)


def in_use(language: Language) -> list[PromptCache | None]:
    """Return the caches that the models have loaded."""
    return [model.prompt_cache for model in language.models]


# -- saving, with a run -----------------------------------------------------------------------------------------------


def check_saving(run: Run) -> None:
    """Refuse at once where a run can't save its cache. Raises InvalidParams, PermissionDenied."""
    given, where = _asked_for(run)
    if given is not None and not is_name(given):
        _give_path(run, given, where)
    elif given is not None:
        # Not whether it is loaded: the call that releases it may be waiting.
        run.language.prompt_caches.check_name(str(given), where)


def begin_saving(run: Run) -> Saving | None:
    """Tell C where to write, on the worker thread just before the run; return what is to be kept by name.

    Raises as ``check_saving``: a link may have changed while the call waited, a cache may have been loaded.
    """
    check_saving(run)
    given, where = _asked_for(run)
    if given is None or not is_name(given):
        return None
    language = run.language
    saving = language.prompt_caches.begin(owner_of(run.invocation.client), str(given), in_use(language), where)
    run.parameters.prompt_cache_params.contents.prompt_cache_path = bytes(saving.path)
    return saving


def keep(run: Run, saving: Saving | None, *, prefilled: bool) -> dict[str, Any]:
    """Keep what a run has saved, if it was asked to; return what its final result says about that.

    ``prefilled``: the prompt was read to its end. Of one that was not, there may be a cache of its beginning.
    """
    if saving is None:
        return {}
    language, caches = run.language, run.language.prompt_caches
    lora = (run.infer_params.json.get("lora_params") or {}).get("lora_adapter_name")
    reason: str | None = "The run ended before the prompt was read."
    if prefilled:
        made_with = made_with_now(language.runtime, run.model, lora)
        reason = caches.commit(saving, made_with, in_use(language))
    said = {} if reason is None else {"reason": reason}
    return {"prompt_cache": {"name": saving.name, "saved": reason is None, **said}}


def discard(run: Run, saving: Saving | None) -> None:
    """Remove what a run has written and nobody keeps."""
    if saving is not None:
        run.language.prompt_caches.discard(saving)


def _asked_for(run: Run) -> tuple[Any, str]:
    """Return the path or name under which a run is to save its cache, None if it is not, and its JSON path."""
    cache = run.infer_params.json.get("prompt_cache_params") or {}
    where = f"{run.infer_params.path}.prompt_cache_params.prompt_cache_path"
    return (cache["prompt_cache_path"] if cache.get("save_prompt_cache") else None), where


def _give_path(run: Run, given: Any, where: str) -> None:
    """Check the path that C is to write and give C just that."""
    resolved = paths.writable_file(given, run.language.config.writable_directories, where)
    run.language.prompt_caches.check_path(resolved, where)
    run.parameters.prompt_cache_params.contents.prompt_cache_path = bytes(resolved)


# -- loading ----------------------------------------------------------------------------------------------------------


def to_load(language: Language, invocation: Invocation, model: Model, name: str, where: str) -> PromptCache:
    """Return the cache of this name if it fits the model, on the worker thread. Raises InvalidParams."""
    caches, owner = language.prompt_caches, owner_of(invocation.client)
    caches.check_name(name, where)
    made_with = next((cache.fingerprint for cache in caches.of(owner) if cache.name == name), {})
    lora = made_with.get("lora_adapter")
    now = made_with_now(language.runtime, model, None if lora is None else str(lora))
    return caches.open(owner, name, now, where)

"""What a client's ``prompt_cache_path`` means: an absolute path, or the name of a prompt cache.

Anything without a slash is a name. The cache belongs to the client's uid and lies in the daemon's cache directory
(``language/prompt_caches/store.py``). In both cases C itself writes into one of the daemon's own directories
(``language/prompt_caches/by_path.py``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rkllmd.calls import authority
from rkllmd.calls.invocation import Client, Invocation
from rkllmd.json_types import Json, JsonObject
from rkllmd.language.caching.made_with import of_model as made_with_now
from rkllmd.language.model import Model
from rkllmd.language.parts import Language
from rkllmd.language.prompt_caches import by_path
from rkllmd.language.prompt_caches.by_path import SavingToPath
from rkllmd.language.prompt_caches.store import PromptCache, Saving
from rkllmd.machine import paths

if TYPE_CHECKING:
    from rkllmd.language.runs.run import Run


def is_name(given: Json) -> bool:
    """Return whether a ``prompt_cache_path`` is a name and not a path."""
    return "/" not in str(given)


def owner_of(client: Client) -> str:
    """Return the owner of a client's caches."""
    return "daemon" if client.user is None else str(client.user)


def loaded_caches(language: Language) -> list[PromptCache | None]:
    """Return the cache that each model has loaded."""
    return [model.prompt_cache for model in language.models]


# -- saving, with a run -----------------------------------------------------------------------------------------------


def check_saving(run: Run) -> None:
    """Refuse a run at once if it can't save its cache as it asks. Raises InvalidParams, PermissionDenied."""
    given, where = _asked_for(run)
    if given is not None and not is_name(given):
        by_path.check(_target(run, given, where), run.language.config.writable_directories, _user(run), where)
    elif given is not None:
        # Whether the cache is loaded is not checked yet: the call that releases it may be waiting.
        run.language.prompt_caches.check_name(str(given), where)


def begin_saving(run: Run) -> Saving | SavingToPath | None:
    """Tell C where to write, on the worker thread just before the run; return what C will write, if anything.

    Raises what ``check_saving`` raises: a link may have changed or a cache been loaded while the call waited.
    """
    check_saving(run)
    given, where = _asked_for(run)
    if given is None:
        return None
    language = run.language
    saving: Saving | SavingToPath
    if is_name(given):
        owner = owner_of(run.invocation.client)
        saving = language.prompt_caches.begin(owner, str(given), loaded_caches(language), where)
    else:
        config = language.config
        candidates = (language.prompt_caches.folder_to_write_in(), config.state_directory)
        target = _target(run, given, where)
        language.saved_caches.check(target, _user(run), where)
        saving = by_path.begin(str(given), target, config.writable_directories, _user(run), candidates, where)
    run.parameters.prompt_cache_params.contents.prompt_cache_path = bytes(saving.path)
    return saving


def keep(run: Run, saving: Saving | SavingToPath | None, *, prefilled: bool) -> JsonObject:
    """Keep what a run has saved, if it was asked to; return what its final result says about that.

    ``prefilled``: whether the whole prompt was read. Otherwise the file may hold only its beginning.
    """
    if saving is None:
        return {}
    reason: str | None = "The run ended before the prompt was read."
    if isinstance(saving, SavingToPath):
        said = {"path": saving.given}
        if prefilled:
            reason = by_path.commit(saving, run.language.saved_caches)
    else:
        said = {"name": saving.name}
        if prefilled:
            language = run.language
            lora = (run.infer_params.json.get("lora_params") or {}).get("lora_adapter_name")
            made_with = made_with_now(language.runtime, run.model, lora)
            reason = language.prompt_caches.commit(saving, made_with, loaded_caches(language))
    why_not = {} if reason is None else {"reason": reason}
    return {"prompt_cache": {**said, "saved": reason is None, **why_not}}


def discard(run: Run, saving: Saving | SavingToPath | None) -> None:
    """Remove what a run has written, unless it was kept."""
    if isinstance(saving, SavingToPath):
        by_path.discard(saving)
    elif saving is not None:
        run.language.prompt_caches.discard(saving)


def _asked_for(run: Run) -> tuple[Json, str]:
    """Return the path or name under which a run has to save its cache (None: it has not to), and its JSON path."""
    cache = run.infer_params.json.get("prompt_cache_params") or {}
    where = f"{run.infer_params.path}.prompt_cache_params.prompt_cache_path"
    return (cache["prompt_cache_path"] if cache.get("save_prompt_cache") else None), where


def _target(run: Run, given: Json, where: str) -> Path:
    """Return the resolved path of the file that the client wants. Raises InvalidParams, PermissionDenied."""
    config = run.language.config
    viewer = authority.viewer(run.invocation.client, config)
    resolved = paths.writable_file(given, config.writable_directories, where, viewer=viewer)
    run.language.prompt_caches.check_path(resolved, where)
    return resolved


def _user(run: Run) -> int | None:
    return run.invocation.client.user


# -- loading ----------------------------------------------------------------------------------------------------------


def to_load(language: Language, invocation: Invocation, model: Model, name: str, where: str) -> PromptCache:
    """Return the cache of this name if it fits the model; on the worker thread. Raises InvalidParams."""
    caches, owner = language.prompt_caches, owner_of(invocation.client)
    caches.check_name(name, where)
    made_with = next((cache.fingerprint for cache in caches.of(owner) if cache.name == name), {})
    lora = made_with.get("lora_adapter")
    now = made_with_now(language.runtime, model, None if lora is None else str(lora))
    return caches.open(owner, name, now, where)

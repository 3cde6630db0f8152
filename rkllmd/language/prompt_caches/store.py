"""The prompt caches that the daemon keeps by name, in its own directory; whoever has most loses the oldest first.

Each owner (a client's uid, or a part of the daemon) has a folder in the directory (``directory.py``) that nobody else
can name. A cache is two files in it: the one that the runtime has written, and a JSON file that says what the cache
depends on. The JSON file's modification time is when the cache was last used. The runtime writes in a folder apart.

What changes files is called on the worker thread, or on that which writes conversations aside; one waits for the other.
What is known about them is in memory and may be read on any thread.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import field
from pathlib import Path
from typing import Final

import structlog

from rkllmd import open_files
from rkllmd.errors import InvalidParams, PermissionDenied, lead
from rkllmd.json_types import Json
from rkllmd.language.prompt_caches.directory import DATA, FACTS, CacheDirectory, Facts
from rkllmd.language.prompt_caches.fingerprint import Fingerprint, differences, in_words
from rkllmd.machine.disk import placing
from rkllmd.machine.files import identify
from rkllmd.quick_dataclass import dataclass
from rkllmd.wire.members import NAME

log = structlog.get_logger()

# For each, two files are read when the daemon starts.
MOST_CACHES: Final = 1000
_NAMES_SHOWN: Final = 20


@dataclass(eq=False)
class PromptCache:
    """A cache on the disk."""

    owner: str
    name: str
    path: Path
    size_bytes: int
    sha256: str  # of its first and last MiB: after a power cut a file may differ from what was written
    saved_at: float  # seconds since 1970, as is used_at
    used_at: float
    fingerprint: Fingerprint = field(default_factory=dict)
    note: Json = None

    @property
    def facts_path(self) -> Path:
        """Return the JSON file beside it."""
        return self.path.with_name(self.name + FACTS)


@dataclass(eq=False)
class Saving:
    """A cache that is being written to ``path``."""

    owner: str
    name: str
    path: Path


class PromptCaches:
    """The caches of all owners.

    The parameter ``loaded`` always is the caches that a runtime has loaded, which must stay. ``where`` is the path of
    the name in the client's JSON, for errors; None if the daemon itself chose the name.
    """

    def __init__(self, directory: str = "", limit_bytes: int = 0) -> None:
        """Take over what an earlier daemon has kept in ``directory``; if that is empty (""), nothing is kept."""
        self.limit_bytes = limit_bytes
        self._directory = CacheDirectory(directory)
        self._caches: dict[tuple[str, str], PromptCache] = {}
        self._changing = threading.RLock()
        for folder, name, facts, used_at in self._directory.found():
            cache = _cache(folder, name, facts, used_at)
            self._caches[cache.owner, cache.name] = cache

    def why_not(self) -> str | None:
        """Return a sentence on why no cache can be kept; None if caches can be kept."""
        return self._directory.why_not()

    def close(self) -> None:
        """Let another daemon have the directory."""
        self._directory.close()

    def folder_to_write_in(self) -> str:
        """Return the path of a folder that is this daemon's own, for caches that get another place; "": there is none.

        On the worker thread, as it may make the folder.
        """
        if self.why_not() is not None:
            return ""
        try:
            with self._changing:
                return str(self._directory.claim())
        except OSError:
            return ""

    def of(self, owner: str) -> list[PromptCache]:
        """Return an owner's caches, the last used first."""
        mine = [cache for cache in list(self._caches.values()) if cache.owner == owner]
        return sorted(mine, key=lambda cache: cache.used_at, reverse=True)

    @property
    def size_bytes(self) -> int:
        """Return the size of all caches together."""
        return sum(cache.size_bytes for cache in list(self._caches.values()))

    def has(self, owner: str, name: str) -> bool:
        """Return whether an owner has a cache of this name."""
        return (owner, name) in self._caches

    def owners(self, prefix: str) -> list[str]:
        """Return the owners that have caches and whose names begin so."""
        return sorted({cache.owner for cache in list(self._caches.values()) if cache.owner.startswith(prefix)})

    def keep_only(self, prefix: str, wanted: Collection[tuple[str, str]]) -> None:
        """Remove the caches of owners whose names begin with ``prefix``, but for the ``wanted``, by owner and name.

        It is called before any cache is loaded.
        """
        for key, cache in list(self._caches.items()):
            if cache.owner.startswith(prefix) and key not in wanted:
                self._forget(cache)

    # -- checks, for any thread --------------------------------------------------------------------------------------

    def check_name(self, name: str, where: str | None = None) -> None:
        """Refuse what is not a name, and every name if no cache can be kept. Raises InvalidParams, PermissionDenied."""
        if NAME.fullmatch(name) is None:
            raise _refusal(
                where,
                "a prompt cache's name has 1 to 100 letters, digits and . _ - and does not begin with a dot.",
                keyword="pattern",
                limit=NAME.pattern,
            )
        reason = self.why_not()
        if reason is not None:
            raise PermissionDenied(
                f"Prompt caches can't be kept by name: {reason}", **_at(where), setting="cache_directory"
            )

    def check_path(self, path: Path, where: str) -> None:
        """Refuse the resolved path of a cache that is kept by name: that has an owner. Raises PermissionDenied."""
        root = self._directory.root
        if root is not None and path.is_relative_to(root):
            raise PermissionDenied(
                f"{lead(where)}the prompt caches here are kept by name: give the name alone.",
                path=where,
                setting="cache_directory",
            )

    # -- files, on the worker thread ---------------------------------------------------------------------------------

    def begin(self, owner: str, name: str, loaded: Collection[PromptCache | None], where: str | None = None) -> Saving:
        """Return where the runtime has to write. Raises InvalidParams, PermissionDenied."""
        self.check_name(name, where)
        self._check_not_loaded(owner, name, loaded, where)
        try:
            with self._changing:
                folder = self._directory.make_folder()
        except OSError as error:
            open_files.raise_shortage(error)
            raise PermissionDenied(
                f"Prompt caches can't be kept by name: {error.filename or self._directory.root}: {error.strerror}.",
                **_at(where),
                setting="cache_directory",
            ) from None
        return Saving(owner, name, folder / name)

    def commit(
        self, saving: Saving, fingerprint: Fingerprint, loaded: Collection[PromptCache | None], note: Json = None
    ) -> str | None:
        """Give the written file its name, in place of an older one; return a sentence on why that failed, or None.

        Other caches are removed if the limit demands it. ``note``: what the owner wants to know of it later.
        """
        try:
            with self._changing:
                reason = self._take_over(saving, fingerprint, set(loaded), note)
        except FileNotFoundError:
            reason = "The runtime has written nothing."
        except OSError as error:
            reason = f"{self._directory.root}: {error.strerror}."
        self.discard(saving)
        if reason is not None:
            log.warning("prompt_cache_not_saved", owner=saving.owner, name=saving.name, reason=reason)
        return reason

    def _take_over(
        self, saving: Saving, fingerprint: Fingerprint, loaded: set[PromptCache | None], note: Json
    ) -> str | None:
        file = identify(str(saving.path))
        old = self._caches.get((saving.owner, saving.name))
        others = [cache for cache in self._caches.values() if cache is not old]
        reason: str | None = "The runtime's file is empty."
        if file.size_bytes:
            reason = self._free(saving.owner, file.size_bytes, others, loaded)
        if reason is not None:
            return reason
        if old is not None:
            self._forget(old)
        now = time.time()
        path = self._directory.owners_folder(saving.owner) / (saving.name + DATA)
        cache = PromptCache(saving.owner, saving.name, path, file.size_bytes, file.sha256, now, now, dict(fingerprint))
        strange = [str(item) for item in (path, cache.facts_path) if os.path.lexists(item)]
        if strange:
            return f"{', '.join(strange)}: there is a file that the daemon has not written. Remove it, or take a name."
        # The facts first: whatever has no facts beside it was not written by the daemon, and is never removed.
        facts = Facts(cache.size_bytes, cache.sha256, now, cache.fingerprint, note)
        written = saving.path.with_name(saving.name + FACTS)
        written.write_bytes(facts.to_json())
        os.utime(written, (now, now))
        written.replace(cache.facts_path)
        saving.path.replace(path)
        self._caches[cache.owner, cache.name] = cache
        log.info("prompt_cache_saved", owner=cache.owner, name=cache.name, bytes=cache.size_bytes)
        return None

    def discard(self, saving: Saving) -> None:
        """Remove what was written and has not got its name."""
        placing.remove_folder(saving.path.parent)

    def open(self, owner: str, name: str, fingerprint: Fingerprint, where: str | None = None) -> PromptCache:
        """Return the cache to load. Raises InvalidParams for an unknown, damaged or unsuitable one."""
        self.check_name(name, where)
        cache = self._caches.get((owner, name))
        if cache is None:
            raise self._unknown(owner, name, where, fingerprint.get("model_path"))
        found = differences(cache.fingerprint, fingerprint)
        if found:
            raise _refusal(
                where,
                f"the prompt cache {name} does not fit: it was made with {in_words(found)}. Save it anew.",
                keyword="fingerprint",
                differences=found,
            )
        if not _is_whole(cache):
            with self._changing:
                self._forget(cache)
            raise _refusal(
                where,
                f"the file of the prompt cache {name} is damaged or gone. Save it anew.",
                keyword="damaged",
            )
        return cache

    def mark_used(self, cache: PromptCache) -> None:
        """Note that a runtime has loaded the cache."""
        cache.used_at = time.time()
        with contextlib.suppress(OSError):  # it only counts as older after the next start
            os.utime(cache.facts_path, (cache.used_at, cache.used_at))

    def drop(
        self, owner: str, name: str, loaded: Collection[PromptCache | None], where: str | None = None
    ) -> PromptCache:
        """Remove a cache. Raises InvalidParams for an unknown or loaded one."""
        self.check_name(name, where)
        with self._changing:
            self._check_not_loaded(owner, name, loaded, where)
            cache = self._caches.get((owner, name))
            if cache is None:
                raise self._unknown(owner, name, where)
            self._forget(cache)
            return cache

    def _check_not_loaded(
        self, owner: str, name: str, loaded: Collection[PromptCache | None], where: str | None
    ) -> None:
        """Refuse to write or remove a cache that a runtime has loaded and may read again. Raises InvalidParams."""
        if self._caches.get((owner, name)) in set(loaded) - {None}:
            raise _refusal(
                where,
                f"the prompt cache {name} is loaded: call rkllm.release_prompt_cache first.",
                keyword="loaded",
            )

    def _unknown(self, owner: str, name: str, where: str | None, model_path: str | int | None = None) -> InvalidParams:
        mine = self.of(owner)
        fitting = [cache.name for cache in mine if model_path in (None, cache.fingerprint.get("model_path"))]
        of_model = "" if model_path is None else " for this model"
        known = f"Yours{of_model}: {', '.join(fitting[:_NAMES_SHOWN])}" if fitting else f"You have none{of_model}"
        more = f" and {len(fitting) - _NAMES_SHOWN} more" if len(fitting) > _NAMES_SHOWN else ""
        return _refusal(
            where,
            f"you have no prompt cache {name}. {known}{more}.",
            keyword="unknown",
            known=fitting[:_NAMES_SHOWN],
        )

    def _free(self, owner: str, needed: int, others: list[PromptCache], loaded: set[PromptCache | None]) -> str | None:
        """Remove caches until ``needed`` bytes of an owner fit; if they can't fit, remove none and return why.

        Each time, the least recently used one of the owner that has most goes: nobody can drive out those of others.
        """
        sizes = Counter({owner: needed})
        for cache in others:
            sizes[cache.owner] += cache.size_bytes
        excess = sizes.total() - self.limit_bytes
        surplus = len(others) + 1 - MOST_CACHES
        staying = sorted((cache for cache in others if cache not in loaded), key=lambda cache: cache.used_at)
        going: list[PromptCache] = []
        while (excess > 0 or surplus > 0) and staying:
            greediest = max((cache.owner for cache in staying), key=lambda of: sizes[of])
            cache = next(cache for cache in staying if cache.owner == greediest)
            staying.remove(cache)
            going.append(cache)
            sizes[greediest] -= cache.size_bytes
            excess -= cache.size_bytes
            surplus -= 1
        if excess > 0 or surplus > 0:
            return f"It has {needed} bytes, more than cache_bytes ({self.limit_bytes}) leaves beside the loaded caches."
        for cache in going:
            log.info("prompt_cache_dropped", owner=cache.owner, name=cache.name, bytes=cache.size_bytes)
            self._forget(cache)
        return None

    def _forget(self, cache: PromptCache) -> None:
        self._caches.pop((cache.owner, cache.name), None)
        for path in (cache.path, cache.facts_path):  # the next start removes facts without their cache
            _unlink(path)


def _at(where: str | None) -> dict[str, str]:
    """Return what an error's data says about the path in the client's JSON."""
    return {} if where is None else {"path": where}


def _refusal(where: str | None, sentence: str, **data: Json) -> InvalidParams:
    return InvalidParams(lead(where) + sentence, **_at(where), **data)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # the next start tries again
        log.warning("prompt_cache_not_removed", path=str(path), reason=error.strerror)


def _is_whole(cache: PromptCache) -> bool:
    try:
        file = identify(str(cache.path))
    except OSError:
        return False
    return (file.size_bytes, file.sha256) == (cache.size_bytes, cache.sha256)


def _cache(folder: Path, name: str, facts: Facts, used_at: float) -> PromptCache:
    path = folder / (name + DATA)
    size_bytes, sha256, saved_at = facts.size_bytes, facts.sha256, facts.saved_at
    return PromptCache(folder.name, name, path, size_bytes, sha256, saved_at, used_at, facts.fingerprint, facts.note)

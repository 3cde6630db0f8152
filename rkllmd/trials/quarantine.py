"""Which models are set aside: what has crashed the daemon three times in ten minutes will do so again.

That is a C function on a model. The model is not loaded any more until something is different (its file, the runtime's
file, the configuration), or until somebody says that it is to be tried all the same. It is kept across restarts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson
import structlog

from rkllmd.errors import Quarantined
from rkllmd.json_types import Json, JsonObject

if TYPE_CHECKING:
    from rkllmd.config.settings import Config
    from rkllmd.store.learned import Learned

log = structlog.get_logger()

_CRASHES: Final = 3
_WINDOW_SECONDS: Final = 600.0
# Calls that are remembered; the oldest are given up.
_MOST_ENTRIES: Final = 200
# A model that came as bytes has no path, but a hash of its contents.
CONTENT: Final = "sha256:"


class CrashOfCall(NamedTuple):
    """One crash, by a C function that worked on a model: its path, or the hash of its contents."""

    function: str
    model: str
    # By the clock, in seconds, since it outlives the machine's monotonic one.
    at: float
    end: str


class Quarantine:
    """The calls that have crashed, with what was the case then; used on the event loop and on the worker thread."""

    def __init__(self, kept: Learned[str, JsonObject] | None = None) -> None:
        """Read what earlier daemons have remembered, if it is ``kept``."""
        self._kept = kept
        self._entries: dict[str, JsonObject] = {} if kept is None else kept.read()

    def note(self, crash: CrashOfCall, state: str) -> None:
        """Note a crash; ``state`` is what ``state_of`` returns for its model."""
        key = f"{crash.function} {crash.model}"
        entry = self._entries.pop(key, None)
        if entry is None or entry["state"] != state:
            entry = {"function": crash.function, "model": crash.model, "state": state, "crashes": [], "is_aside": False}
        crashes = [item for item in entry["crashes"] if crash.at - item["at"] <= _WINDOW_SECONDS]
        crashes = [*crashes, {"at": crash.at, "end": crash.end}][-_CRASHES:]
        is_aside = entry["is_aside"] or len(crashes) == _CRASHES
        if is_aside and not entry["is_aside"]:
            log.error("model_set_aside", model_path=crash.model, function=crash.function, crashes=crashes)
        self._write(key, {**entry, "crashes": crashes, "is_aside": is_aside})

    def check(self, model: str, state_of: Callable[[str], str]) -> None:
        """Refuse to load a model that is set aside; ``state_of`` says what is the case now. Raises Quarantined."""
        for entry in self._of(model):
            if entry["is_aside"] and entry["state"] == state_of(model):
                raise _refusal(entry)

    def forget(self, model: str) -> None:
        """Forget what a model has done: somebody wants it to be tried all the same."""
        for key in [key for key, entry in list(self._entries.items()) if entry["model"] == model]:
            self._write(key, None)

    def _of(self, model: str) -> list[JsonObject]:
        if not self._entries:  # nearly always
            return []
        return [entry for entry in list(self._entries.values()) if entry["model"] == model]

    def _write(self, key: str, entry: JsonObject | None) -> None:
        changed: dict[str, JsonObject | None] = {key: entry}
        self._entries.pop(key, None)
        if entry is not None:
            self._entries[key] = entry
        while len(self._entries) > _MOST_ENTRIES:
            oldest = next(iter(self._entries))
            changed[oldest] = None
            del self._entries[oldest]
        if self._kept is not None:
            self._kept.put(changed)


def state_of(model: str, library: str, config: Config) -> str:
    """Return what is different as soon as the model's file, the runtime's file or the configuration is."""
    facts: list[Json] = [repr(config), _file(library)]
    if not model.startswith(CONTENT):
        facts.append(_file(model))
    return hashlib.sha256(orjson.dumps(facts)).hexdigest()


def content_hash(content: memoryview) -> str:
    """Return by what a model that is in no file is known."""
    return CONTENT + hashlib.sha256(content).hexdigest()


def _file(path: str) -> list[int]:
    """Return what any write to a file changes; nothing for one that is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _refusal(entry: JsonObject) -> Quarantined:
    crashes, function = entry["crashes"], str(entry["function"])
    ends = ", ".join(dict.fromkeys(str(crash["end"]) for crash in crashes))
    return Quarantined(
        f"{entry['model']} is set aside: with it, {function} has crashed the daemon {len(crashes)} times within ten "
        f'minutes ({ends}). Replace the file or the runtime, change the configuration, or load it with "force": true.',
        function=function,
        model_path=None if str(entry["model"]).startswith(CONTENT) else entry["model"],
        crashes=crashes,
    )

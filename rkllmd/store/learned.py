"""What is learned and kept: one small table for each kind of thing, read at the start. Nothing depends on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

import orjson
import structlog

from rkllmd.json_types import Json, JsonObject
from rkllmd.store.store import Statement, Store, Value

log = structlog.get_logger()

K = TypeVar("K", bound=str | int)
T = TypeVar("T")


class Learned(Generic[K, T]):
    """A table of values by a text, in the order in which they were last written, or by a number, in that order."""

    def __init__(
        self,
        store: Store,
        table: str,
        columns: tuple[str, ...],
        to_row: Callable[[T], tuple[Value, ...]],
        of_row: Callable[..., T],
    ) -> None:
        """``columns``: the key's and those that ``to_row`` fills; ``of_row`` raises ValueError for a wrong row."""
        self._store = store
        self._table = table
        self._columns = columns
        self._to_row = to_row
        self._of_row = of_row

    def read(self) -> dict[K, T]:
        """Return all of it, without what makes no sense."""
        found: dict[K, T] = {}
        for key, *row in self._store.read(f"SELECT {', '.join(self._columns)} FROM {self._table} ORDER BY rowid"):
            try:
                found[key] = self._of_row(*row)
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                log.warning("store_row_not_read", table=self._table, key=key, reason=str(error))
        return found

    def put(self, values: Mapping[K, T | None]) -> None:
        """Write these, the last one as the newest; None deletes."""
        if values:
            self._store.write(*(self._statement(key, value) for key, value in values.items()))

    def _statement(self, key: K, value: T | None) -> Statement:
        if value is None:
            return f"DELETE FROM {self._table} WHERE {self._columns[0]} = ?", (key,)
        places = ", ".join("?" * len(self._columns))
        # Replaced rows get a new rowid, the largest.
        return f"INSERT OR REPLACE INTO {self._table} ({', '.join(self._columns)}) VALUES ({places})", (
            key,
            *self._to_row(value),
        )


Mean = tuple[float, int]
"""A mean duration in milliseconds, and how many calls it rests on."""


def durations(store: Store) -> Learned[str, Mean]:
    """Return how long calls have taken, by method and model."""

    def to_row(mean: Mean) -> tuple[Value, ...]:
        return round(mean[0], 3), mean[1]

    return Learned(store, "durations", ("call", "mean_ms", "calls"), to_row, mean_of)


def footprints(store: Store) -> Learned[str, int]:
    """Return how many bytes loads have taken, by model."""
    return Learned(store, "footprints", ("model", "bytes"), lambda size: (size,), size_of)


def verdicts(store: Store) -> Learned[str, JsonObject]:
    """Return what trials have shown, by the identity of their files."""

    def to_row(verdict: JsonObject) -> tuple[Value, ...]:
        return (orjson.dumps(verdict).decode(),)

    return Learned(store, "verdicts", ("files", "verdict"), to_row, lambda text: verdict_of(orjson.loads(text)))


def crashes(store: Store) -> Learned[str, JsonObject]:
    """Return which calls have crashed the daemon, by the function and the model."""

    def to_row(entry: JsonObject) -> tuple[Value, ...]:
        return (orjson.dumps(entry).decode(),)

    return Learned(store, "crashes", ("call", "entry"), to_row, lambda text: crashes_of(orjson.loads(text)))


def last_crash(store: Store) -> Learned[int, JsonObject]:
    """Return how a daemon has crashed last, under LAST."""

    def to_row(crash: JsonObject) -> tuple[Value, ...]:
        return (orjson.dumps(crash).decode(),)

    return Learned(store, "last_crash", ("number", "crash"), to_row, lambda text: last_crash_of(orjson.loads(text)))


def mean_of(mean: Json, count: Json) -> Mean:
    """Return what it means. Raises ValueError, TypeError."""
    found = float(mean), int(count)
    # NaN and infinity are neither.
    if not 0 <= found[0] < float("inf") or found[1] < 1:
        raise ValueError("no duration")
    return found


def size_of(size: Json) -> int:
    """Return what it means. Raises ValueError, TypeError."""
    if int(size) <= 0:
        raise ValueError("no size")
    return int(size)


SavedCache = tuple[int | None, int, float]
"""A prompt cache at a path: for which uid it was saved (None: the daemon itself), bytes, seconds since 1970."""


def saved_caches(store: Store) -> Learned[str, SavedCache]:
    """Return what was saved to paths that clients named, by its path."""
    columns = ("path", "user", "bytes", "saved_at")
    return Learned(store, "saved_caches", columns, lambda saved: saved, saved_cache_of)


def saved_cache_of(user: Json, size: Json, saved_at: Json) -> SavedCache:
    """Return what it means. Raises ValueError, TypeError."""
    if int(size) < 0:
        raise ValueError("no size")
    return None if user is None else int(user), int(size), float(saved_at)


_CRASHES: Final = {"function", "model", "state", "crashes", "is_aside"}


def crashes_of(content: Json) -> JsonObject:
    """Return what it means: how often a call has crashed. Raises ValueError, TypeError, KeyError."""
    entry = dict(content)
    if entry.keys() != _CRASHES:
        raise ValueError("no crashes of a call")
    entry["crashes"] = [{"at": float(crash["at"]), "end": str(crash["end"])} for crash in entry["crashes"]]
    return entry


# The one number in the table of the last crash.
LAST: Final = 1
_LAST_CRASH: Final = {"at", "end", "signal", "exit_status", "stuck", "out_of_memory", "call", "beside", "lines"}


def last_crash_of(content: Json) -> JsonObject:
    """Return what it means: a crash as docs/protocol.md has it. Raises ValueError, TypeError."""
    crash = dict(content)
    if _LAST_CRASH - set(crash):
        raise ValueError("a crash without what it is made of")
    return crash


_VERDICT: Final = {"death", "step", "lines", "most_bytes"}


def verdict_of(content: Json) -> JsonObject:
    """Return what it means: nothing, or how the process died. Raises ValueError, TypeError."""
    verdict = dict(content)
    if verdict and _VERDICT - set(verdict):
        raise ValueError("a verdict without what it is made of")
    return verdict

"""The calls that are detached from their connections: how many there may be, and for how long each is kept.

Without I/O except for the clock, which is trio's, and for the store, which writes on a thread of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import orjson
import structlog
import trio

from rkllmd.calls.detached.call import DetachedCall
from rkllmd.errors import InternalError, OutOfMemory, QueueFull, ShuttingDown
from rkllmd.json_types import Json, JsonObject
from rkllmd.wire import long_strings
from rkllmd.wire.long_strings import LongJson

if TYPE_CHECKING:
    from rkllmd.config.quotas import Exceeded
    from rkllmd.store.jobs import Bounds, KeptJob, KeptJobs

log = structlog.get_logger()

# The protocol's promise (section 7). Other queues keep a result between 500 seconds (RQ) and a day (Celery); what is
# kept here lies on the SD card of a board, and whoever waits for it asks every few seconds. After a restart it begins
# anew: boards without a clock don't know how long they were off, and who reads has to come back as well.
KEPT_SECONDS: Final = 600.0
# Something ends within this time, or nobody knows.
_RETRY_AFTER_MS: Final = 1000


class DetachedCalls:
    """The detached calls that have not ended, and those that have, as long as they are kept.

    How many there may be is bounded, in all and for each user, and so are the bytes of results. When a bound is
    exceeded, the oldest call that has ended is forgotten, of the user who has most.
    """

    def __init__(self, kept: KeptJobs | None = None, clock: Callable[[], float] = trio.current_time) -> None:
        """``kept``: the store's table of them, which has what it takes to go on in another daemon."""
        self._table = kept if kept is not None and kept.is_lasting else None
        self._clock = clock
        self._calls: dict[str, DetachedCall] = {}
        # Those that have ended, the oldest first: when each is forgotten, and how many bytes its result has.
        self._kept: dict[str, tuple[float, int]] = {}
        self._kept_changed = trio.Event()

    def __len__(self) -> int:
        """Return how many there are, ended ones included."""
        return len(self._calls)

    def __iter__(self) -> Iterator[DetachedCall]:
        """Iterate over a snapshot."""
        return iter(list(self._calls.values()))

    @property
    def result_bytes(self) -> int:
        """Return how large all results are together."""
        return sum(size for _, size in self._kept.values())

    @property
    def are_lasting(self) -> bool:
        """Return whether they outlive the daemon."""
        return self._table is not None

    def add(self, call: DetachedCall, bounds: Bounds) -> None:
        """Take a call that is about to begin. Raises QueueFull if there are too many that have not ended."""
        self._expire()
        while (exceeded := bounds.too_many(call.user, [other.user for other in self])) is not None:
            own = [other for other in self if other.user == call.user]
            if not self._drop_oldest(own if exceeded.whose == "user" else self._of_greediest(lambda _: 1)):
                raise _full("jobs", exceeded)
        given = [(other.user, other.given_bytes) for other in self if not other.ended.is_set()]
        if (exceeded := bounds.too_large(call.user, call.given_bytes, given)) is not None:
            raise _full("bytes in jobs that wait", exceeded)
        self._calls[call.id] = call

    def promise(self, call: DetachedCall, done: Callable[[str | None], None]) -> None:
        """Write down what the call is, so that it outlives the daemon, behind what was written before.

        ``done`` is told, on any thread, that not even a power cut can undo that, or why it could not be done.
        """
        if self._table is None or call.kept is None:
            done(None)
            return
        call.belong_to(self.note_begin)
        self._table.add(call.kept, done)
        # The call has it in another form; here only its size is looked at any more.
        call.kept = replace(call.kept, request=b"")

    def note_begin(self, job_id: str) -> None:
        """Write down that a call begins, and return when no crash can undo that; on the worker thread."""
        if self._table is not None:
            self._table.begin(job_id)

    def read(self) -> list[KeptJob]:
        """Return those of earlier daemons, in their order."""
        return [] if self._table is None else self._table.read()

    def restore(self, call: DetachedCall) -> None:
        """Take one of an earlier daemon, whatever the limits are now."""
        self._calls[call.id] = call
        call.belong_to(self.note_begin)
        kept = call.kept
        if kept is not None and kept.has_ended:
            size = 0 if kept.result is None else len(kept.result)
            self._kept[call.id] = (self._clock() + KEPT_SECONDS, size)

    def begin_anew(self, call: DetachedCall) -> None:
        """Let one of an earlier daemon wait for its turn again, though it had begun."""
        if self._table is not None:
            self._table.wait_again(call.id)

    def find(self, job_id: str, user: int | None) -> DetachedCall | None:
        """Return the user's own call with this id, if there is one (any more)."""
        self._expire()
        call = self._calls.get(job_id)
        return call if call is not None and call.user == user else None

    def forget(self, call: DetachedCall) -> None:
        """Do not keep the call any longer."""
        self._calls.pop(call.id, None)
        self._kept.pop(call.id, None)
        if self._table is not None and call.kept is not None:
            self._table.forget(call.id)

    def keep(self, call: DetachedCall, most_bytes: int) -> None:
        """Keep how a call has ended: its result as JSON, encoded as it will be sent."""
        if call.id not in self._calls:
            return
        size = 0
        if call.error is None:
            call.result, call.error, size = _encoded(call.result, most_bytes)
        self._kept[call.id] = (self._clock() + KEPT_SECONDS, size)
        if self._table is not None and call.kept is not None:
            result = call.result.pieces if call.error is None else None
            self._table.end(call.id, call.elapsed_ms, result, None if call.error is None else orjson.dumps(call.error))
        self.fit(most_bytes)
        self._kept_changed.set()

    def fit(self, most_bytes: int) -> None:
        """Give up results until the others have no more than this many bytes."""
        while self.result_bytes > most_bytes:
            self._drop_oldest(self._of_greediest(lambda key: self._kept[key][1]))

    async def run(self) -> None:
        """Forget the calls that were kept for long enough, until cancelled."""
        while True:
            for until, _ in self._kept.values():
                await trio.sleep_until(until)
                break
            else:
                self._kept_changed = trio.Event()
                await self._kept_changed.wait()
            self._expire()

    def leave(self) -> None:
        """Let those go on in the next daemon that can; before anything is stopped."""
        for call in self:
            call.leave()

    def close(self) -> None:
        """End what has not ended and does not go on; the log has what nobody has read and nobody will."""
        for call in self:
            if call.is_left and not call.ended.is_set():
                self.begin_anew(call)
            elif not call.ended.is_set():
                error = ShuttingDown("The daemon is shutting down; the call had not ended.")
                call.end(None, error.to_json())
        for call in self:
            if not call.was_read and self._table is None:
                kind = None if call.error is None else call.error["data"]["kind"]
                log.warning("job_not_read", job=call.id, method=call.method, client=call.describe(), error=kind)

    def _expire(self) -> None:
        now = self._clock()
        while self._kept:
            job_id, (until, _) = next(iter(self._kept.items()))
            if until > now:
                return
            self.forget(self._calls[job_id])

    def _of_greediest(self, weight: Callable[[str], int]) -> list[DetachedCall]:
        """Return the calls of the user whose ended calls weigh most."""
        weights: Counter[int | None] = Counter()
        for job_id in self._kept:
            weights[self._calls[job_id].user] += weight(job_id)
        if not weights:
            return []
        greediest = weights.most_common(1)[0][0]
        return [call for call in self if call.user == greediest]

    def _drop_oldest(self, calls: list[DetachedCall]) -> bool:
        """Forget the one of ``calls`` that ended first; return false if none has ended."""
        ids = {call.id for call in calls}
        for job_id in self._kept:
            if job_id in ids:
                self.forget(self._calls[job_id])
                return True
        return False


def _full(what: str, exceeded: Exceeded) -> QueueFull:
    message = f"{exceeded.have} as many {what} as may be ({exceeded.setting}: {exceeded.limit}), and none has ended"
    data = {"queued": exceeded.used, "retry_after_ms": _RETRY_AFTER_MS, **exceeded.data}
    return QueueFull(f"{message}: try again later.", **data)


def _encoded(result: Json, most_bytes: int) -> tuple[LongJson | None, JsonObject | None, int]:
    """Return a result as it is kept, or the error in its place, and its size."""
    try:
        encoded = LongJson(long_strings.dumps(result))
    except TypeError as error:
        return None, InternalError(f"The result can't be written as JSON: {error}.").to_json(), 0
    if len(encoded) <= most_bytes:
        return encoded, None, len(encoded)
    refused = OutOfMemory(
        f"The call has ended, but its result has {len(encoded)} bytes, more than is kept of jobs (max_job_bytes): call "
        "the method over a connection.",
        needed_bytes=len(encoded),
        limit=most_bytes,
    )
    return None, refused.to_json(), 0

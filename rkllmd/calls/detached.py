"""Calls that are detached from their connection (server.submit): who they are, how they ended, how long that is kept.

A detached call goes through ``dispatch`` as every call does, but its client is an object that keeps what would be sent.
Without I/O except for the clock, which is trio's.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import structlog
import trio

from rkllmd.errors import InternalError, OutOfMemory, QueueFull, RpcError, ShuttingDown
from rkllmd.json_types import Json, JsonObject
from rkllmd.wire import jsonrpc, long_strings
from rkllmd.wire.descriptors import NO_DESCRIPTORS, Descriptors
from rkllmd.wire.long_strings import LongJson

if TYPE_CHECKING:
    from rkllmd.npu.job import Job

log = structlog.get_logger()

# As the protocol promises (section 7).
KEPT_SECONDS: Final = 600.0
# 128 bits: nobody guesses one.
_ID_BYTES: Final = 16
# When calls will have ended is not known: a guess.
_RETRY_AFTER_MS: Final = 1000


class DetachedCall:
    """The client of one call that no connection waits for: it sends nothing and keeps how the call ended.

    ``number`` is that of the connection for which the call counts: it owns handles and conversations.
    """

    def __init__(
        self,
        method: str,
        *,
        number: int,
        user: int | None,
        name: str,
        on_end: Callable[[DetachedCall], None] | None = None,
    ) -> None:
        """``name`` is for the log and server.queue; ``on_end`` is called once, on the event loop."""
        self.id = secrets.token_urlsafe(_ID_BYTES)
        self.method = method
        self.number = number
        self.user = user
        self.ended = trio.Event()
        self.result: Json = None
        # The Error object of JSON-RPC, if it failed.
        self.error: JsonObject | None = None
        self.elapsed_ms = 0.0
        self.job: Job | None = None
        self.was_read = False
        self._name = name
        self._on_end = on_end

    def __eq__(self, other: object) -> bool:
        """Be equal to the user's other detached calls: in the queue, they take turns as one client."""
        return isinstance(other, DetachedCall) and other.user == self.user

    def __hash__(self) -> int:
        return hash((DetachedCall, self.user))

    @property
    def status(self) -> str:
        """Return ``queued``, ``processing``, ``completed`` or ``error``."""
        if self.ended.is_set():
            return "completed" if self.error is None else "error"
        return "queued" if self.job is None or self.job.state == "queued" else "processing"

    def end(self, result: Json, error: JsonObject | None) -> None:
        """Note how it ended; only the first end counts."""
        if self.ended.is_set():
            return
        self.result, self.error = result, error
        if self.job is not None and self.job.started_at:
            self.elapsed_ms = round((time.monotonic() - self.job.started_at) * 1000, 1)
        self.job = None  # it keeps all that the client has sent
        self.ended.set()
        if self._on_end is not None:
            self._on_end(self)

    # -- as a Client -------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """Return who it is."""
        return self._name

    def find_job(self, call_id: jsonrpc.Id) -> Job | None:
        """Return None: it has no ids."""
        return None

    def send_partials(self, call: jsonrpc.Call, partials: list[JsonObject], *, as_notifications: bool) -> None:
        """Send nothing."""

    def partial_sender(self, call: jsonrpc.Call, *, as_notifications: bool) -> Callable[[JsonObject], bool]:
        """Return a function that sends nothing, for which it never has to wait."""
        return lambda _: True

    def answer(self, call: jsonrpc.Call, result: Json, fds: Descriptors = NO_DESCRIPTORS) -> None:
        """Keep the result; there are no descriptors, since nobody could ask for any."""
        self.end(result, None)

    def refuse(self, call: jsonrpc.Call, error: RpcError) -> None:
        """Keep the error."""
        self.end(None, error.to_json())

    def notify(self, line: bytes) -> None:
        """Send nothing: such a call does not watch anything."""


class DetachedCalls:
    """The detached calls that have not ended, and those that have, as long as they are kept.

    How many there may be is bounded, in all and for each user, and so are the bytes of results. When a bound is
    exceeded, the oldest call that has ended is forgotten, of the user who has most.
    """

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
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

    def add(self, call: DetachedCall, most: int, most_of_user: int) -> None:
        """Add a call that is about to begin. Raises QueueFull if there are too many that have not ended."""
        self._expire()
        own = [other for other in self if other.user == call.user]
        if len(own) >= most_of_user and not self._drop_oldest(own):
            raise _full("This user has as many jobs as it may", len(own), most_of_user)
        if len(self) >= most and not self._drop_oldest(self._of_greediest(lambda _: 1)):
            raise _full("There are as many jobs as there may be", len(self), most)
        self._calls[call.id] = call

    def find(self, job_id: str, user: int | None) -> DetachedCall | None:
        """Return the user's own call with this id, if there is one (any more)."""
        self._expire()
        call = self._calls.get(job_id)
        return call if call is not None and call.user == user else None

    def forget(self, call: DetachedCall) -> None:
        """Do not keep the call any longer."""
        self._calls.pop(call.id, None)
        self._kept.pop(call.id, None)

    def keep(self, call: DetachedCall, most_bytes: int) -> None:
        """Keep how a call has ended: its result as JSON, encoded as it will be sent."""
        if call.id not in self._calls:
            return
        size = 0
        if call.error is None:
            call.result, call.error, size = _encoded(call.result, most_bytes)
        self._kept[call.id] = (self._clock() + KEPT_SECONDS, size)
        while self.result_bytes > most_bytes:
            self._drop_oldest(self._of_greediest(lambda key: self._kept[key][1]))
        self._kept_changed.set()

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

    def close(self) -> None:
        """End the calls that have not ended, because the daemon leaves; log those whose results nobody has read."""
        for call in self:
            if not call.ended.is_set():
                error = ShuttingDown("The daemon is shutting down; the call had not ended.")
                call.end(None, error.to_json())
        for call in self:
            if not call.was_read:
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


def _full(what: str, queued: int, limit: int) -> QueueFull:
    return QueueFull(
        f"{what} ({limit}), and none of them has ended: try again later.",
        queued=queued,
        limit=limit,
        retry_after_ms=_RETRY_AFTER_MS,
    )


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

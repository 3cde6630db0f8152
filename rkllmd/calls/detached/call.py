"""A call that is detached from its connection (server.submit): who it is, and how it ended.

It goes through ``dispatch`` as every call does, but its client is an object that keeps what would be sent. All of them:
``calls.py``. Without I/O except for the clock.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import trio

from rkllmd.errors import NotKept, RpcError, ShuttingDown
from rkllmd.json_types import Json, JsonObject
from rkllmd.wire import jsonrpc
from rkllmd.wire.descriptors import NO_DESCRIPTORS, Descriptors

if TYPE_CHECKING:
    from rkllmd.npu.job import Job
    from rkllmd.store.jobs import KeptJob
    from rkllmd.wire.budget import Holding

# 128 bits: nobody guesses one.
_ID_BYTES: Final = 16
# A call that was submitted with "retry" begins at most this often.
MOST_BEGINS: Final = 2


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
        groups: frozenset[int] = frozenset(),
        on_end: Callable[[DetachedCall], None] | None = None,
        kept: KeptJob | None = None,
    ) -> None:
        """``name`` is for the log and server.queue; ``on_end`` is called once, on the event loop.

        ``kept``: what the store has of it, if it was submitted to an earlier daemon.
        """
        self.id = secrets.token_urlsafe(_ID_BYTES) if kept is None else kept.id
        self.method = method
        self.number = number
        self.user = user
        self.groups = groups
        # Whoever has submitted it may have ended.
        self.pid: int | None = None
        self.ended = trio.Event()
        self.result: Json = None
        # The Error object of JSON-RPC, if it failed.
        self.error: JsonObject | None = None
        self.elapsed_ms = 0.0
        self.job: Job | None = None
        self.was_read = False
        # What was given to it, as the store has it; None where nothing outlives the daemon.
        self.kept: KeptJob | None = None
        # How many bytes that is.
        self.given_bytes = 0
        # What it takes of its user's memory, until it has ended.
        self.holding: Holding | None = None
        # Somebody has cancelled it: then no later daemon begins it again.
        self.is_given_up = False
        # It goes on in the next daemon, since this one leaves.
        self.is_left = False
        # Why it could not be promised, set on the store's thread.
        self.unkept_reason: str | None = None
        self._name = name
        self._on_end = on_end
        self._note_begin: Callable[[str], None] | None = None
        self._is_promised = True
        self._news: Callable[[], None] | None = None
        if kept is not None:
            self.take_record(kept)

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

    def take_record(self, kept: KeptJob) -> None:
        """Take what the store is to have of it, or has."""
        self.kept, self.given_bytes = kept, len(kept.request or b"")

    def expect_promise(self) -> None:
        """Let news of it wait until its client knows it."""
        self._is_promised = False

    def when_promised(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` when its client knows it; at once if that is so."""
        if self._is_promised:
            tell()
        else:
            self._news = tell

    def keep_promise(self) -> None:
        """Note that its client knows it."""
        self._is_promised = True
        if self._news is not None:
            self._news()

    def take_ending(self, result: Json, error: JsonObject | None, elapsed_ms: float) -> None:
        """Be one that has ended in an earlier daemon."""
        self.result, self.error, self.elapsed_ms = result, error, elapsed_ms
        self.ended.set()

    def belong_to(self, note_begin: Callable[[str], None]) -> None:
        """Be one that the store has: ``note_begin`` writes there that the one with an id begins, and returns then."""
        self._note_begin = note_begin

    def begin(self) -> None:
        """Note that its work begins: no later daemon does it again. On the worker thread, before the work.

        Raises NotKept where it was refused meanwhile, since it could not be promised.
        """
        if self._note_begin is not None and self.kept is not None:
            self._note_begin(self.kept.id)
            self.kept = replace(self.kept, begun=self.kept.begun + 1, is_waiting=False)
        if self.unkept_reason is not None:
            raise NotKept("The job could not be promised.", reason=self.unkept_reason)

    def leave(self) -> None:
        """Go on in the next daemon, if it has not begun, or may begin once more; before this one stops anything."""
        kept = self.kept
        if kept is None or kept.is_bound or self.is_given_up or self.ended.is_set():
            return
        is_waiting = self.job is not None and self.job.state == "queued"
        self.is_left = is_waiting or (kept.retry and kept.begun < MOST_BEGINS)

    def end(self, result: Json, error: JsonObject | None) -> None:
        """Note how it ended; what comes later is not kept."""
        if self.ended.is_set():
            return
        self.result, self.error = result, error
        if self.job is not None and self.job.started_at:
            self.elapsed_ms = round((time.monotonic() - self.job.started_at) * 1000, 1)
        # It keeps all that the client has sent.
        self.job = None
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
        if not self._is_cut():
            self.end(result, None)

    def refuse(self, call: jsonrpc.Call, error: RpcError) -> None:
        """Keep the error."""
        if not (self.is_left and isinstance(error, ShuttingDown)) and not self._is_cut():
            self.end(None, error.to_json())

    def notify(self, line: bytes) -> None:
        """Send nothing: such a call does not watch anything."""

    def _is_cut(self) -> bool:
        """Return whether it ended early because the daemon leaves, and goes on in the next one."""
        return self.is_left and self.job is not None and self.job.cancelled

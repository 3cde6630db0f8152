"""A job: one call on its way through the NPU's queue. A leaf: everybody in this folder knows it, it knows nobody.

Its life is ``new``, ``queued``, ``running``, ``finished``, and it changes by the methods below alone; all of them are
called on the event loop, but for ``resolve``, ``begin``, ``loading`` and ``stoppable``, which the worker thread
calls while the job runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    import outcome

    from rkllmd.errors import RpcError, Timeout
    from rkllmd.npu.deadlines import Deadlines
    from rkllmd.npu.load import Load

# The target of a job that is not known before the job's turn: it may be any.
UNRESOLVED: Final = object()


class Generating(Protocol):
    """A generation as far as the NPU's side looks at it; times are the monotonic clock's, 0 or None where none is."""

    mode: int
    abort_requested: bool
    paused: bool
    started_at: float
    first_token_at: float | None
    last_at: float
    max_new_tokens: int
    keeps_history: bool
    # Set from outside: its next callback asks the runtime to stop there.
    pause_requested: bool

    @property
    def tokens(self) -> int:
        """Return how many tokens have come so far."""

    def so_far(self) -> dict[str, Any]:
        """Return the text that has come so far."""


class Job:
    """One call for the worker: the work, and the one place that is told how it ended.

    ``work`` is done on the worker thread, ``done`` called on the event loop.

    ``target`` is the model or context that it is for, ``changes`` the kinds of handles that it makes or releases,
    ``user`` the client's uid, ``model_name`` the file that it works on, by which its duration is remembered,
    ``fits_between_tokens`` that it may run while a generation waits at a token, ``proves_npu`` that it can't
    succeed without the NPU. ``give_up`` answers its client while the work still goes on; ``done`` follows
    nevertheless.
    ``abort`` makes the running work end early; it is called on the event loop. ``is_generation``: it gets on with
    each token; anything else gets on only by ending, and if it can be aborted it has time to end when the daemon
    leaves. ``is_kept``: the work is done even if its client goes. ``load`` is what a load has read so far,
    ``most_tokens`` after how many tokens a generation ends at the latest (0: no limit, None: it is none).
    """

    __slots__ = (
        "abort",
        "answered",
        "cancelled",
        "changes",
        "client",
        "deadlines",
        "done",
        "ends_soon",
        "expired_at",
        "fits_between_tokens",
        "generation",
        "give_up",
        "is_kept",
        "is_loading",
        "load",
        "method",
        "model_name",
        "most_tokens",
        "phase_at",
        "priority",
        "progressed_at",
        "proves_npu",
        "queued_at",
        "started_at",
        "state",
        "target",
        "timeout",
        "user",
        "work",
    )

    def __init__(
        self,
        method: str,
        work: Callable[[], Any],
        done: Callable[[outcome.Outcome[Any]], None],
        *,
        client: object = None,
        target: object = None,
        changes: frozenset[str] = frozenset(),
        user: int | None = None,
        priority: str = "normal",
        model_name: str = "",
        fits_between_tokens: bool = False,
        proves_npu: bool = False,
        deadlines: Deadlines | None = None,
        give_up: Callable[[RpcError], None] | None = None,
        abort: Callable[[], None] | None = None,
        is_generation: bool = False,
        is_kept: bool = False,
        load: Load | None = None,
        most_tokens: int | None = None,
    ) -> None:
        self.method = method
        self.work = work
        self.done = done
        self.client = client
        self.target: Any = target
        self.changes = changes
        self.user = user
        self.priority = priority
        self.model_name = model_name
        self.fits_between_tokens = fits_between_tokens
        self.proves_npu = proves_npu
        self.deadlines = deadlines
        self.give_up = give_up
        self.abort = abort
        self.load = load
        self.is_kept = is_kept
        self.ends_soon = abort is not None and not is_generation
        self.most_tokens = most_tokens
        # The run that it is, from its beginning on.
        self.generation: Generating | None = None
        # Return when a generation last got on (by the monotonic clock; 0: not yet). None: progress is its end alone.
        self.progressed_at: Callable[[], float] | None = self._last_token_at if is_generation else None
        self.timeout: Timeout | None = None  # set when its time was over
        self.expired_at = 0.0
        # While the call waits for the load of a model, and since when it does, or does not any more.
        self.is_loading = False
        self.phase_at = 0.0
        self.answered = False  # while the work still goes on
        self.cancelled = False
        self.state = "new"
        self.queued_at = time.monotonic()
        self.started_at = 0.0

    def enqueue(self) -> None:
        """Note that it waits for its turn."""
        self.state = "queued"

    def take(self) -> None:
        """Note that it has its turn: it is about to be given to the worker thread."""
        self.state = "running"

    def start(self, now: float) -> None:
        """Note when the worker is given it, from when on its time counts."""
        self.started_at = now

    def resolve(self, target: object, model_name: str, most_tokens: int | None = None) -> None:
        """Note what it is for, where that was not known before its turn."""
        self.target, self.model_name, self.most_tokens = target, model_name, most_tokens

    def limit(self, deadlines: Deadlines | None) -> None:
        """Give it limits of time if it has none."""
        if self.deadlines is None:
            self.deadlines = deadlines

    def begin(self, generation: Generating) -> None:
        """Note the run that it is, by whose tokens it gets on."""
        self.generation = generation

    def cancel(self) -> None:
        """Ask its running work to end early."""
        self.cancelled = True
        if self.abort is not None:
            self.abort()

    def expire(self, timeout: Timeout, now: float) -> None:
        """Note that its time is over; whoever calls this also cancels it."""
        self.timeout, self.expired_at = timeout, now

    def answer_early(self) -> None:
        """Answer its client with the timeout while the work still goes on."""
        self.answered = True
        if self.give_up is not None and self.timeout is not None:
            self.give_up(self.timeout)

    def finish(self) -> None:
        """Note that it has run, or was dropped."""
        self.state = "finished"
        self.progressed_at = None  # it refers to the job: what a client has sent would wait for the garbage collector

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Give it the time of a load for this part of its work, and its own anew after that."""
        self.phase_at, self.is_loading = time.monotonic(), True
        try:
            yield
        finally:
            self.phase_at, self.is_loading = time.monotonic(), False

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Let this part of its work be cancelled that looks at ``cancelled`` itself; what can be aborted already is."""
        if self.abort is not None:
            yield
            return
        self.abort = _nothing_to_call
        try:
            yield
        finally:
            self.abort = None

    def _last_token_at(self) -> float:
        return 0.0 if self.generation is None else self.generation.last_at


def _nothing_to_call() -> None:
    """Abort what looks at ``cancelled`` itself."""

"""A job: one call on its way through the NPU's queue. All modules of this room know it, and it knows none of them.

Its states are ``new``, ``queued``, ``running`` and ``finished``, and only the methods below change it. They are called
on the event loop, except ``resolve``, ``begin``, ``loading`` and ``stoppable``, which the worker thread calls while the
job runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from rkllmd.machine.crash_journal import Asked
from rkllmd.quick_dataclass import dataclass

if TYPE_CHECKING:
    import outcome

    from rkllmd.errors import RpcError, Timeout
    from rkllmd.json_types import JsonObject
    from rkllmd.npu.deadlines import Deadlines
    from rkllmd.npu.load import Load

# Stands for a target that is not known before the job's turn: it may be any.
UNRESOLVED: Final = object()


class Generating(Protocol):
    """What is read of a generation here; times are those of the monotonic clock, 0 or None if there is none yet."""

    mode: int
    abort_requested: bool
    paused: bool
    started_at: float
    first_token_at: float | None
    last_at: float
    max_new_tokens: int
    keeps_history: bool
    # Whether others have a part in the same call of C.
    shares_batch: bool
    # Set by others: its next callback asks the runtime to stop there.
    pause_requested: bool

    @property
    def tokens(self) -> int:
        """Return how many tokens have come so far."""

    def so_far(self) -> JsonObject:
        """Return the text that has come so far."""


@dataclass(frozen=True, slots=True, eq=False)
class Together:
    """With which others a job may go into one call of C (``together/along.py``): those of the same ``key``.

    ``places``: how many there may be in all. ``share`` makes one job of several, whose turn it is; it ends each of them
    when that one's part is done (``Npu.end_member``). ``call`` is what it needs of this job.
    """

    key: Hashable
    places: int
    share: Callable[[Sequence[Job]], Job]
    call: object


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is loaded for a job if it begins now: its ``target``, and which others leave memory for it.

    ``displaces`` is None if it is loaded already; nothing leaves for it then.
    """

    target: object
    displaces: Sequence[object] | None


class Job:
    """One call for the worker thread.

    ``work`` is done on the worker thread; ``done`` is called once with its outcome, on the event loop.

    ``client`` is whoever asked for it, None for the daemon itself; ``user`` the client's uid. ``target`` is the model
    or context that the call is for; ``changes`` says which kinds of handles it makes or releases. ``model_name`` is the
    file that it works on: its duration is remembered by that. ``fits_between_tokens``: it may run while a generation
    waits at a token. ``proves_npu``: it can't succeed without the NPU. ``is_kept``: the work is done even if its client
    goes.

    ``abort`` makes the running work end early; it is called on the event loop. ``give_up`` answers the client while the
    work still goes on; ``done`` is called later nevertheless. ``is_generation``: it progresses with each token.
    Everything else progresses only by ending, and if it can be aborted it has time to end when the daemon leaves.
    ``load`` is how far a load is. ``most_tokens``: after how many tokens a generation ends at the latest (0: no limit;
    None: it is no generation). ``ask``: what the crash journal is told of it, if it calls C. ``together``: with which
    others it may go into one call of C. ``members``: of a job that was made of several, those of them that go on.
    ``arrives`` returns what is loaded for it, if it begins now.
    """

    __slots__ = (
        "abort",
        "answered",
        "arrives",
        "ask",
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
        "is_cut",
        "is_kept",
        "is_loading",
        "load",
        "looked_at",
        "members",
        "method",
        "model_name",
        "most_tokens",
        "passed_at",
        "phase_at",
        "priority",
        "progressed_at",
        "proves_npu",
        "queued_at",
        "signs",
        "started_at",
        "state",
        "target",
        "timeout",
        "together",
        "user",
        "work",
    )

    def __init__(
        self,
        method: str,
        work: Callable[[], object],
        done: Callable[[outcome.Outcome[object]], None],
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
        ask: Callable[[], Asked] | None = None,
        together: Together | None = None,
        members: Sequence[Job] = (),
        arrives: Callable[[], Arrival] | None = None,
    ) -> None:
        self.method = method
        self.work = work
        self.done = done
        self.client, self.target, self.changes = client, target, changes
        self.user, self.priority = user, priority
        self.model_name = model_name
        self.fits_between_tokens = fits_between_tokens
        self.proves_npu, self.is_kept = proves_npu, is_kept
        self.deadlines = deadlines
        self.give_up = give_up
        self.abort = abort
        self.load = load
        self.ends_soon = abort is not None and not is_generation
        self.most_tokens = most_tokens
        self.ask = self._own if ask is None else ask
        self.together, self.members, self.arrives = together, list(members), arrives
        # What it generates, once that has begun.
        self.generation: Generating | None = None
        # Returns when a generation last had a token (by the monotonic clock; 0: not yet). None: it is no generation.
        self.progressed_at: Callable[[], float] | None = self._last_token_at if is_generation else None
        self.timeout: Timeout | None = None  # set when its time is over
        # Whether it is a generation that has run as long as it may in all: what it has made is its result.
        self.is_cut = False
        self.expired_at = self.passed_at = 0.0  # passed_at: when others first went before it though its turn had come
        # Whether it waits for the load of a model, and when that has begun or ended.
        self.is_loading = False
        self.phase_at = 0.0
        # When it was last looked at for signs of life, and what was seen: CPU seconds, None if it lives for certain.
        self.looked_at = 0.0
        self.signs: float | None = None
        self.answered = False  # true if its client was answered before the work has ended
        self.cancelled, self.state = False, "new"
        self.queued_at = time.monotonic()
        self.started_at = 0.0

    def enqueue(self) -> None:
        """Note that it waits for its turn."""
        self.state = "queued"

    def take(self) -> None:
        """Note that it has its turn: it is about to be given to the worker thread."""
        self.state = "running"

    def pass_over(self, now: float) -> None:
        """Note that its turn has come, and another one goes before it."""
        self.passed_at = self.passed_at or now

    def was_passed_over(self, now: float) -> float:
        """Return for how many seconds others have gone before it though its turn had come."""
        return now - self.passed_at if self.passed_at else 0.0

    def start(self, now: float) -> None:
        """Note when it is given to the worker thread: its time counts from then on."""
        self.started_at = now

    @property
    def since(self) -> float:
        """Return since when it has its own time: from its start, or from when its model was loaded or it began anew."""
        return max(self.started_at, self.phase_at)

    def resolve(self, target: object, model_name: str, most_tokens: int | None = None) -> None:
        """Note what it is for, if that was not known before its turn."""
        self.target, self.model_name, self.most_tokens = target, model_name, most_tokens

    def limit(self, deadlines: Deadlines | None) -> None:
        """Give it time limits if it has none."""
        if self.deadlines is None:
            self.deadlines = deadlines

    def join(self, abort: Callable[[], None]) -> None:
        """Note that it goes into one call of C with others, which ``abort`` makes it leave.

        Whether there is a sign of life is looked at for all of them together.
        """
        self.abort = abort
        if self.deadlines is not None:
            self.deadlines = replace(self.deadlines, lifeless=math.inf)

    def begin(self, generation: Generating) -> None:
        """Note the generation that it has begun, whose tokens are its progress."""
        self.generation = generation

    def begin_anew(self) -> None:
        """Note that its work begins once more: its time counts from now, and that of its members too."""
        for job in (self, *self.members):
            job.phase_at = time.monotonic()

    def cancel(self) -> None:
        """Ask its running work to end early."""
        self.cancelled = True
        if self.abort is not None:
            self.abort()

    def expire(self, timeout: Timeout, now: float, *, is_cut: bool = False) -> None:
        """Note that its time is over; the caller cancels it as well."""
        self.timeout, self.expired_at, self.is_cut = timeout, now, is_cut

    def note_signs(self, signs: float | None, now: float) -> None:
        """Note what signs of life there are."""
        self.signs, self.looked_at = signs, now

    def answer_early(self) -> None:
        """Answer its client with the timeout while the work still goes on."""
        self.answered = True
        if self.give_up is not None and self.timeout is not None:
            self.give_up(self.timeout)

    def finish(self) -> None:
        """Note that it has run, or was dropped."""
        self.state = "finished"
        # These refer back to the job: what the client has sent would stay until the garbage collector comes.
        self.progressed_at = self.together = self.arrives = None
        self.ask = _nothing_to_ask

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Give it the time of a load for this part of its work; after that, its own time begins anew."""
        self._note_load(begins=True)
        try:
            yield
        finally:
            self._note_load(begins=False)

    def _note_load(self, *, begins: bool) -> None:
        for job in (self, *self.members):
            job.phase_at, job.is_loading = time.monotonic(), begins

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Let it be cancelled during this part of its work, which looks at ``cancelled`` itself."""
        if self.abort is not None:
            yield
            return
        self.abort = _nothing_to_call
        try:
            yield
        finally:
            self.abort = None

    def _own(self) -> Asked:
        return Asked(self.method, self.target, self.model_name)

    def _last_token_at(self) -> float:
        return 0.0 if self.generation is None else self.generation.last_at


def _nothing_to_ask() -> Asked:
    """Be the ``ask`` of a job that has ended."""
    return Asked("")


def _nothing_to_call() -> None:
    """Be the ``abort`` of work that looks at ``cancelled`` itself."""

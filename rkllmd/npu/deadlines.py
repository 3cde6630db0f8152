"""How long a call may wait and run, and what comes next when it takes longer. Decides only: ``supervisor.py`` acts.

What is limited is the time to the next progress, not to the end. A generation progresses with each token, so no fixed
clock ends one that goes on; everything else progresses only by ending. These things may become due, in this order:

1. ``WAIT``: the call has waited too long for its turn and is dropped;
2. ``LIMIT``: the running call is asked to stop, if it can be;
3. ``GRACE``: it has not stopped; its client is answered, the call goes on until the runtime lets go;
4. ``HARD``: it takes longer than the configuration allows to any call of the kind: the NPU is taken for stuck.

``WHOLE`` is a ``LIMIT`` that no progress moves on; what a generation has made by then is its result.

A prefill may take half an hour. So before its first token a generation is also looked at now and then, whether there is
any sign of life: ``SIGNS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

from rkllmd.errors import Timeout
from rkllmd.quick_dataclass import dataclass

# However short a limit is, a job is not looked at more often than this.
_LOOK_SECONDS: Final = 0.05


class Timed(Protocol):
    """A job, as far as its time is concerned; all times are those of the monotonic clock."""

    method: str
    state: str
    deadlines: Deadlines | None
    queued_at: float
    started_at: float
    progressed_at: Callable[[], float] | None
    # Whether it waits for the load of a model, and when that has begun or ended.
    is_loading: bool
    phase_at: float
    # The error when its time was over, when that was, and whether its client was answered with it.
    timeout: Timeout | None
    expired_at: float
    answered: bool
    # When it was last looked at for signs of life.
    looked_at: float

    @property
    def since(self) -> float:
        """Return since when it has its own time: from its start, or from when its model was loaded."""


class Step(Enum):
    """What is due."""

    WAIT = "waiting for the NPU"
    LIMIT = "running"
    GRACE = "stopping"
    HARD = "stuck"
    SIGNS = "looked at"
    WHOLE = "running in all"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The limits of one call, in seconds; infinite where there is none.

    ``wait`` in the queue, ``first`` from the start to the first progress, ``between`` from one progress to the next.
    ``hard_…`` are those of the configuration, whatever the client said: a stuck NPU is detected by them. ``load`` is
    the limit of a load, which another call may wait for. ``grace`` is how long a call may take to stop when it is asked
    to. ``lifeless`` is how long a generation may show no sign of life before its first token, ``whole`` how long the
    call may run in all.
    """

    wait: float
    first: float
    between: float
    hard_first: float
    hard_between: float
    load: float
    grace: float
    lifeless: float = math.inf
    whole: float = math.inf


def next_step(job: Timed) -> tuple[float, Step]:
    """Return when something is due for a job, by the monotonic clock, and what; the time is infinite if nothing is."""
    deadlines = job.deadlines
    if deadlines is None or job.state not in ("queued", "running"):
        return math.inf, Step.WAIT
    if job.state == "queued":
        return job.queued_at + deadlines.wait, Step.WAIT
    since, limit, hard = _clock(job, deadlines)
    if job.timeout is None:
        # Two looks show whether something has happened between them.
        look = max(since, job.looked_at) + deadlines.lifeless / 2 if _is_prefill(job) else math.inf
        whole = math.inf if job.is_loading else job.since + deadlines.whole
        due = min(since + limit, look, whole)
        return due, Step.WHOLE if due == whole < since + limit else Step.SIGNS if due == look else Step.LIMIT
    if not job.answered:
        return job.expired_at + deadlines.grace, Step.GRACE
    return since + hard + deadlines.grace, Step.HARD


def _is_prefill(job: Timed) -> bool:
    """Return whether it is a generation that has no token yet, nor waits for its model."""
    return job.progressed_at is not None and not job.is_loading and job.progressed_at() <= job.started_at


def _clock(job: Timed, deadlines: Deadlines) -> tuple[float, float, float]:
    """Return since when the running job has made no progress, its limit for that, and that of any call of the kind."""
    if job.is_loading:  # it waits for a model that is being loaded
        return job.phase_at, deadlines.load, deadlines.load
    progressed_at = job.progressed_at() if job.progressed_at is not None else 0.0
    if progressed_at > job.started_at:
        return progressed_at, deadlines.between, deadlines.hard_between
    return job.since, deadlines.first, deadlines.hard_first


def next_look(job: Timed, now: float) -> float:
    """Return when to look at a job again; once a generation has its first token, its next limit may come earlier."""
    due, _ = next_step(job)
    if job.deadlines is None or job.state != "running" or job.progressed_at is None:
        return due
    return min(due, now + max(job.deadlines.between, _LOOK_SECONDS))


def error_for(job: Timed, step: Step, now: float) -> Timeout:
    """Return the error for the client of a job whose ``step`` is due."""
    deadlines = job.deadlines
    assert deadlines is not None
    if step is Step.WAIT:
        limit, since, what = deadlines.wait, job.queued_at, "The call waited longer for its turn than it may"
    elif step is Step.WHOLE:
        limit, since, what = deadlines.whole, job.since, f"{job.method} took longer than it may"
    else:
        since, limit, _ = _clock(job, deadlines)
        what = f"{job.method} took longer than it may"
        if job.progressed_at is not None:
            what += " for its first token" if since == job.since else " for its next token"
    return Timeout(
        f"{what} ({limit * 1000:.0f} ms).", limit_ms=round(limit * 1000), elapsed_ms=round((now - since) * 1000, 1)
    )

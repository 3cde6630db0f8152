"""How long a call may wait and run, and what comes next when it takes longer. It only decides; ``supervisor.py`` acts.

A call has its time to make progress, not to be done: a generation progresses with each token, so one that goes on is
not killed by a fixed clock; everything else progresses only by ending. Four things may become due, in this order:

1. ``WAIT``: the call has waited too long for its turn and is dropped;
2. ``LIMIT``: the running call is asked to stop, if it can be;
3. ``GRACE``: it has not stopped; its client is answered, the call goes on until the runtime lets go;
4. ``HARD``: it takes longer than the configuration allows any such call: the NPU counts as stuck.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from rkllmd.config import MOST_MS, Config, ConfigError
from rkllmd.errors import InvalidParams, Timeout

if TYPE_CHECKING:
    from rkllmd.method import Method
    from rkllmd.npu import Job

# The members beside "method".
_TIMEOUT: Final = "timeout_ms"
_FIRST_TOKEN: Final = "first_token_timeout_ms"
_WAIT: Final = "wait_timeout_ms"
_MEMBERS: Final = (_TIMEOUT, _FIRST_TOKEN, _WAIT)
# A limit that is shorter is looked at so often only.
_LOOK_SECONDS: Final = 0.05


class Step(Enum):
    """What is due."""

    WAIT = "waiting for the NPU"
    LIMIT = "running"
    GRACE = "stopping"
    HARD = "stuck"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The limits of one call, in seconds; infinite where there is none.

    ``wait`` in the queue, ``first`` from the start to the first progress, ``between`` from one to the next; ``hard_…``
    are the configuration's own, whatever the client said, by which a stuck NPU is told. ``load`` is that of a load,
    which another call may wait for. ``grace`` is how long a call that was asked to stop may take for it.
    """

    wait: float
    first: float
    between: float
    hard_first: float
    hard_between: float
    load: float
    grace: float


class Timeouts:
    """The limits that the configuration sets, and what a call may ask for itself."""

    def __init__(self, config: Config, methods: Mapping[str, Method]) -> None:
        """Raise ConfigError for a method that does not exist."""
        unknown = sorted(set(config.timeouts_ms) - set(methods) - {"default"})
        if unknown:
            close = difflib.get_close_matches(unknown[0], [*methods, "default"], n=1)
            hint = f"did you mean {close[0]}?" if close else "rpc.discover lists them all."
            raise ConfigError(f"The setting timeouts_ms: there is no method {unknown[0]!r}; {hint}")
        self._config = config
        self._known: dict[str, Deadlines] = {}

    def of(self, method: Method, members: Mapping[str, Any]) -> Deadlines:
        """Return the limits of a call with these members beside "method"; they may be shorter than the configuration's.

        Raises InvalidParams.
        """
        deadlines = self._known.get(method.name)
        if deadlines is None:
            deadlines = self._known[method.name] = self._configured(method)
        if not members or not any(name in members for name in _MEMBERS):
            return deadlines
        wait, limit, first = (_seconds(members, name) for name in (_WAIT, _TIMEOUT, _FIRST_TOKEN))
        return replace(
            deadlines,
            wait=deadlines.wait if wait is None else wait,
            first=min(first or limit or math.inf, deadlines.first),
            between=min(limit or math.inf, deadlines.between),
        )

    @cached_property
    def own(self) -> Deadlines:
        """Return the limits of what the daemon does itself: it waits for its turn however long that takes."""
        config = self._config
        limit = config.timeouts_ms["default"] / 1000 or math.inf
        return Deadlines(math.inf, limit, limit, limit, limit, self._load, config.grace_ms / 1000)

    @property
    def _load(self) -> float:
        table = self._config.timeouts_ms
        return table.get("rkllm.init", table["default"]) / 1000 or math.inf

    def _configured(self, method: Method) -> Deadlines:
        config = self._config
        table = config.timeouts_ms
        first = between = table.get(method.name, table["default"])
        if method.abort is not None:  # a generation
            first, between = config.first_token_timeout_ms, config.token_timeout_ms
            between = table.get(method.name, between)
        wait, first_s, between_s = (ms / 1000 or math.inf for ms in (config.wait_timeout_ms, first, between))
        return Deadlines(wait, first_s, between_s, first_s, between_s, self._load, config.grace_ms / 1000)


def _seconds(members: Mapping[str, Any], name: str) -> float | None:
    value = members.get(name)
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= MOST_MS:
        keyword, limit = ("maximum", MOST_MS) if type(value) is int and value > MOST_MS else ("minimum", 1)
        raise InvalidParams(
            f'The member "{name}" is a whole number of milliseconds from 1 to {MOST_MS}.',
            member=name,
            keyword=keyword,
            limit=limit,
        )
    return value / 1000


def next_step(job: Job) -> tuple[float, Step]:
    """Return what is due next for a job, and when by the monotonic clock; infinity: nothing is."""
    deadlines = job.deadlines
    if deadlines is None or job.state not in ("queued", "running"):
        return math.inf, Step.WAIT
    if job.state == "queued":
        return job.queued_at + deadlines.wait, Step.WAIT
    since, limit, hard = _clock(job, deadlines)
    if job.timeout is None:
        return since + limit, Step.LIMIT
    if not job.answered:
        return job.expired_at + deadlines.grace, Step.GRACE
    return since + hard + deadlines.grace, Step.HARD


def _clock(job: Job, deadlines: Deadlines) -> tuple[float, float, float]:
    """Return since when the running job has made no progress, how long it may, and how long any such call may."""
    if job.is_loading:  # a model that this call waits for
        return job.phase_at, deadlines.load, deadlines.load
    progressed_at = job.progressed_at() if job.progressed_at is not None else 0.0
    if progressed_at > job.started_at:
        return progressed_at, deadlines.between, deadlines.hard_between
    return max(job.started_at, job.phase_at), deadlines.first, deadlines.hard_first


def next_look(job: Job, now: float) -> float:
    """Return when to look at a job again: what is due next may come earlier once a generation has its first token."""
    due, _ = next_step(job)
    if job.deadlines is None or job.state != "running" or job.progressed_at is None:
        return due
    return min(due, now + max(job.deadlines.between, _LOOK_SECONDS))


def error_for(job: Job, step: Step, now: float) -> Timeout:
    """Return what the client of a job is told whose ``step`` is due."""
    deadlines = job.deadlines
    assert deadlines is not None
    if step is Step.WAIT:
        limit, since, what = deadlines.wait, job.queued_at, "The call waited longer for its turn than it may"
    else:
        since, limit, _ = _clock(job, deadlines)
        what = f"{job.method} took longer than it may"
        if job.progressed_at is not None:
            what += " for its first token" if since == max(job.started_at, job.phase_at) else " for its next token"
    return Timeout(
        f"{what} ({limit * 1000:.0f} ms).", limit_ms=round(limit * 1000), elapsed_ms=round((now - since) * 1000, 1)
    )

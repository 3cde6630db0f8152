"""Watches over what runs on the NPU and what waits for it: deadlines that pass, an NPU that is stuck.

``deadlines.py`` decides what is due and when, ``outage.py`` what means a stuck NPU; here it is done. All methods are
called on the event loop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

import outcome
import structlog
import trio

from rkllmd.errors import RpcError, RuntimeFailure
from rkllmd.npu import outage
from rkllmd.npu.deadlines import Step, error_for, next_look, next_step
from rkllmd.npu.job import Job
from rkllmd.npu.outage import Outage
from rkllmd.npu.queue import Queue

log = structlog.get_logger()

# What a process uses of the CPU while it only waits; the kernel counts hundredths of a second.
_IDLE_FRACTION: Final = 0.01
_CLOCK_SECONDS: Final = 0.02


class Supervisor:
    """Ends what takes too long, and keeps calls away from an NPU that is lost."""

    def __init__(
        self,
        queue: Queue,
        cancel: Callable[[Job, RpcError | None], bool],
        start: Callable[[], None],
        on_outage: Callable[[Outage | None], None] = lambda outage: None,
        *,
        signs: Callable[[], float | None] = lambda: None,
        patience: Callable[[], float] = lambda: math.inf,
        on_given_up: Callable[[Outage], None] = lambda outage: None,
    ) -> None:
        """``cancel(job, error)`` drops a waiting job or asks a running one to stop; ``start`` begins the next one.

        ``on_outage`` is called when the NPU is lost, and with None when it is back. ``signs`` returns how many seconds
        of CPU time C has used, or None if something certainly happens. ``on_given_up`` is called when the NPU was lost
        for ``patience()`` seconds.
        """
        self.outage: Outage | None = None
        self._on_outage = on_outage
        self._signs = signs
        self._patience = patience
        self._on_given_up = on_given_up
        self._queue = queue
        self._cancel = cancel
        self._start = start
        self._stuck: Job | None = None  # the call that does not return, which is why the NPU is taken for stuck
        self._sign: Outage | None = None  # what a runtime has printed during the call that runs
        # Until when ``watch`` sleeps, and what wakes it for something earlier.
        self._looks_at = math.inf
        self._sooner = trio.Event()
        self._starts_at = math.inf  # when the next job is to begin whose turn it is already

    # -- deadlines ---------------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Do what is due when it is due, until cancelled."""
        while True:
            now = time.monotonic()
            self._looks_at = min((next_look(job, now) for _, _, job in self._due()), default=math.inf)
            self._looks_at = min(self._looks_at, self._starts_at)
            if self.outage is not None and self._queue.running is None and len(self._queue):  # jobs of the daemon wait
                self._looks_at = min(self._looks_at, self.outage.retry_at)
            if self.outage is not None and self._stuck is not None:
                self._looks_at = min(self._looks_at, self.outage.began + self._patience())
            self._sooner = trio.Event()
            with trio.move_on_after(max(0.0, self._looks_at - time.monotonic())):
                await self._sooner.wait()
            self.check(time.monotonic())

    def look_at(self, job: Job) -> None:
        """Wake ``watch`` if something is due for this job earlier than it would wake."""
        due = math.inf if job.deadlines is None else next_look(job, time.monotonic())
        if self.outage is not None and job.state == "queued":  # it waits for the attempt, or is the attempt
            due = min(due, self.outage.retry_at)
        if due < self._looks_at:
            self._sooner.set()

    def start_at(self, when: float) -> None:
        """Let the next job begin at this time."""
        self._starts_at = when
        if when < self._looks_at:
            self._sooner.set()

    def check(self, now: float) -> None:
        """Do what is due by ``now``."""
        if self._starts_at <= now:
            self._starts_at = math.inf
        for due, step, job in self._due():
            if due <= now:
                self._expire(job, step, now)
        if self._stuck is not None:
            self._give_up(now)
        self._start()

    def _due(self) -> list[tuple[float, Step, Job]]:
        jobs = [*self._queue.waiting(), *self._queue.members, self._queue.running, self._queue.at_boundary]
        # For the call that does not return, nothing more is due.
        watched = [job for job in jobs if job is not None and job.deadlines is not None and job is not self._stuck]
        return [(*next_step(job), job) for job in watched]

    def _expire(self, job: Job, step: Step, now: float) -> None:
        if step is Step.WAIT:
            self._cancel(job, error_for(job, step, now))
        elif step in (Step.LIMIT, Step.WHOLE):
            timeout = error_for(job, step, now)
            job.expire(timeout, now, is_cut=step is Step.WHOLE and job.progressed_at is not None)
            log.warning("call_timed_out", method=job.method, **timeout.data)
            self._cancel(job, None)
        elif step is Step.GRACE:
            log.warning("call_does_not_stop", method=job.method)
            job.answer_early()
        elif step is Step.HARD:
            self._stuck = job
            self.lose(outage.from_call(job.method, now - job.started_at))
        elif step is Step.SIGNS:
            self._look_for_life(job, now)

    def _look_for_life(self, job: Job, now: float) -> None:
        """Take the NPU for stuck if C has done nothing since the last look."""
        signs, before = self._signs(), job.signs
        idle_seconds = _CLOCK_SECONDS + _IDLE_FRACTION * (now - job.looked_at)
        if signs is None or before is None or signs - before > idle_seconds:
            job.note_signs(signs, now)
            return
        self._stuck = job
        self.lose(outage.from_silence(job.method, now - job.started_at))

    def note_late_abort(self, function: str, seconds: float) -> None:
        """Note that the abort of the running job does not return: the NPU is stuck, unless a prefill is to end first.

        Then the abort may have to wait for that, and the first token's time limit says what is too long.
        """
        job = self._queue.running
        if job is None or job is self._stuck or job.generation is None or job.generation.first_token_at is None:
            return
        self._stuck = job
        self.lose(outage.from_call(function, seconds))

    # -- a stuck NPU -------------------------------------------------------------------------------------------------

    def lose(self, found: Outage) -> None:
        """Send nothing to the NPU any more, and answer the calls that wait."""
        if self.outage is not None:  # it has been stuck since the first outage
            found.began, found.since = self.outage.began, self.outage.since
        self.outage = found
        log.error("device_lost", reason=found.reason, advice=found.advice)
        self._on_outage(found)
        for job in self._queue:
            if job.client is not None:
                self._cancel(job, found.error())
        self._sooner.set()

    def _give_up(self, now: float) -> None:
        """Say so if the NPU was lost for so long that it won't come back to this process.

        Not while nobody tries: the driver may have reset the NPU.
        """
        if self.outage is not None and now - self.outage.began >= self._patience():
            self._on_given_up(self.outage)

    def suspect(self, found: Outage) -> None:
        """Note what a runtime has printed. It is believed if the call fails during which it was printed.

        A name that a client has given may stand in a line as well, and a call that succeeds shows that the NPU works.
        """
        if self._queue.running is not None:
            self._sign = found

    def check_device(self) -> None:
        """Refuse a client's call while the NPU is lost, unless it is the one that may try. Raises DeviceLost."""
        self._look_for_tokens()
        if self.outage is None:
            return
        is_free = self._queue.running is None and not len(self._queue)
        if not is_free or not self.lets_start():
            raise self.outage.error()

    def lets_start(self) -> bool:
        """Return whether a call may be sent to the NPU now."""
        return self.outage is None or time.monotonic() >= self.outage.retry_at

    def judge(self, job: Job, result: outcome.Outcome[object]) -> None:
        """Look at how a job has ended: the NPU may be lost, or back."""
        sign, self._sign = self._sign, None
        was_stuck = job is self._stuck
        if was_stuck:
            self._stuck = None
        if sign is not None and isinstance(result, outcome.Error) and isinstance(result.error, RuntimeFailure):
            now = time.monotonic()
            sign.retry_at = now + sign.pause
            self.lose(sign)
            self._give_up(now)
            return
        lost = self.outage
        if lost is None:
            return
        proves = isinstance(result, outcome.Value) and job.proves_npu and job.started_at >= lost.retry_at
        if proves or (was_stuck and lost.retry_at == math.inf):
            self._find(job)

    def _look_for_tokens(self) -> None:
        """Note that the NPU is back if the running generation has a token; its end may be far away."""
        job, lost = self._queue.running, self.outage
        if job is None or lost is None or job.progressed_at is None or job.started_at < lost.retry_at:
            return
        if job.progressed_at() > job.started_at:
            self._find(job)

    def _find(self, job: Job) -> None:
        self.outage = None
        log.warning("device_back", method=job.method)
        self._on_outage(None)

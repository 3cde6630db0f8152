"""The one NPU worker thread: what may run when is decided here and in its queue (``npu/queue.py``), nowhere else.

That one thread makes all C calls but one, so that no two overlap: a context that was used from two threads has panicked
kernels. Everything but the work itself happens on the event loop, which never goes into C: a call that does not return
would stop it for everybody. ``rkllm_abort`` is made to be called during a run, from another thread: that is the one of
``npu/beside.py``.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar, cast

import outcome
import structlog
import trio

from rkllmd.errors import Cancelled, RpcError, ShuttingDown
from rkllmd.machine.crash_journal import CrashJournal
from rkllmd.metrics import Metrics
from rkllmd.npu.beside import Beside
from rkllmd.npu.deadlines import Deadlines
from rkllmd.npu.job import Job, Together
from rkllmd.npu.outage import Outage
from rkllmd.npu.queue import Queue
from rkllmd.npu.supervisor import Supervisor
from rkllmd.npu.times import estimates
from rkllmd.npu.times.durations import Durations
from rkllmd.npu.together.along import along
from rkllmd.npu.together.gathering import Gathering
from rkllmd.npu.token_boundary import Boundaries, Boundary

log = structlog.get_logger()

T = TypeVar("T")


class Observer(Protocol):
    """Whoever wants to know what happens to the jobs (``service/events.py``); must not raise."""

    def moved(self, job: Job) -> None:
        """``job`` has begun to wait or to run, or was dropped: its ``state`` says which."""

    def ended(self, job: Job, result: outcome.Outcome[object]) -> None:
        """``job`` has run."""


class Npu:
    """The worker thread, its queue and what watches over both. All methods are called on the event loop."""

    # None as long as nobody observes.
    _observer: Observer | None = None

    def __init__(
        self,
        jobs: Queue,
        durations: Durations | None = None,
        *,
        metrics: Metrics | None = None,
        own_deadlines: Callable[[], Deadlines | None] = lambda: None,
        patience: Callable[[], float] = lambda: math.inf,
        when_handled: Callable[[Callable[[], None]], None] = lambda function: function(),
        on_outage: Callable[[Outage | None], None] = lambda outage: None,
        signs: Callable[[], float | None] = lambda: None,
        outage_patience: Callable[[], float] = lambda: math.inf,
        on_given_up: Callable[[Outage], None] = lambda outage: None,
        journal: CrashJournal | None = None,
    ) -> None:
        """Start the worker thread.

        ``own_deadlines`` returns those of the daemon's own jobs, which may hang as well, ``patience`` how many seconds
        a call beside a run may take. ``when_handled`` calls a
        function when all requests that have arrived are handled. ``journal`` is told what
        the worker thread does. The others are the supervisor's.
        """
        self.queue = jobs
        self.journal = CrashJournal() if journal is None else journal
        self.durations = durations or Durations()
        self.metrics = metrics or Metrics()
        self.closing = False
        self.idle = trio.Event()
        self.idle.set()
        self._given: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        self.boundaries = Boundaries(self._ask_for_jobs, self._do_between)
        self._own_deadlines = own_deadlines
        self._when_handled = when_handled
        self.supervisor = Supervisor(
            self.queue,
            self.cancel,
            self._start_next,
            on_outage,
            signs=signs,
            patience=outage_patience,
            on_given_up=on_given_up,
        )
        self.beside = Beside(patience, self.supervisor.note_late_abort)
        # A daemon thread: a call that never returns must not keep the process from leaving.
        self._gathering = Gathering()
        self._thread = threading.Thread(target=self._serve, name="npu", daemon=True)
        self._thread.start()

    def observe(self, observer: Observer | None) -> None:
        """Tell ``observer`` what happens from now on, or nobody."""
        self._observer = observer

    @property
    def state(self) -> str:
        """Return ``idle``, ``loading``, ``running``, ``aborting`` or ``wedged``."""
        if self.supervisor.outage is not None:
            return "wedged"
        job = self.queue.running
        if job is None:
            return "idle"
        if job.cancelled:
            return "aborting"
        is_waking = (job.client is not None or job.members) and getattr(job.target, "is_asleep", False)
        return "loading" if job.load is not None or is_waking else "running"

    def submit(self, job: Job) -> None:
        """Queue ``job``; its ``done`` is called once, on the event loop, however it ends.

        Raises QueueFull, DeviceLost or ShuttingDown for a client's job. The daemon's own jobs, without a client, are
        always taken.
        """
        if self.closing and job.client is not None:
            raise ShuttingDown("The daemon is shutting down.")
        if job.client is not None:
            self.supervisor.check_device()
        else:
            job.limit(self._own_deadlines())
        self.queue.add(job, self._retry_after_ms)
        self._tell_move(job)
        self._start_next()
        self.supervisor.look_at(job)

    def _retry_after_ms(self) -> int | None:
        remaining = estimates.remaining(self.durations, self.queue.running, time.monotonic())
        return None if remaining is None else math.ceil(remaining)

    def cancel(self, job: Job, error: RpcError | None = None) -> bool:
        """Drop ``job`` if it waits, ask it to stop if it runs; return false if it has already ended."""
        if self.queue.drop(job):
            self._tell_move(job)
            self._tell(job, outcome.Error(error or Cancelled("The call was cancelled while it waited.")))
            return True
        if job.state != "running":
            return False
        job.cancel()
        return True

    def cancel_client(self, client: object) -> None:
        """Drop the waiting jobs of a client that is gone, and stop its running ones."""
        for job in self.queue.waiting():
            if job.client is client:
                self.cancel(job)
        # The load of a language model goes on: the model is the daemon's, and rkllm_init can't be interrupted anyway.
        self._gathering.forget(client)
        for running in (*self.queue.members, self.queue.running, self.queue.at_boundary):
            if running is None or running.client is not client or running.abort is None:
                continue
            if not running.is_kept:
                self.cancel(running)

    def close(self) -> None:
        """Refuse new jobs, answer the waiting ones with ShuttingDown and stop the running one unless it ends soon."""
        self.closing = True
        for job in self.queue:
            self.cancel(job, ShuttingDown("The daemon is shutting down."))
        running = self.queue.running
        if running is not None and running.abort is not None and not running.ends_soon:
            self.cancel(running)

    def stop_running(self) -> None:
        """Ask whatever runs to stop, if it can be aborted."""
        for running in (self.queue.at_boundary, self.queue.running):
            if running is not None and running.abort is not None:
                self.cancel(running)

    def _start_next(self) -> None:
        # When the daemon leaves, its own jobs run whatever the NPU does: it does not wait for them too long.
        if not (self.closing or self.supervisor.lets_start()) or self._gathers():
            return
        job = self.queue.next()
        if job is None:
            return
        if job.together is not None:
            job = self._share(job, job.together)
        if self.idle.is_set():  # otherwise somebody may be waiting for the event that there is
            self.idle = trio.Event()
        self._begin(job)
        self._when_handled(partial(self._given.put, job))

    def _gathers(self) -> bool:
        """Return whether the next job waits for a moment, since others are expected that may go along with it."""
        first = self.queue.first() if self.queue.running is None and not self.closing else None
        if first is None or first.together is None:
            return False
        now = time.monotonic()
        until = self._gathering.until(first, self.queue, now)
        if until > now:
            self.supervisor.start_at(until)
        return until > now

    def _share(self, first: Job, how: Together) -> Job:
        """Let others go along with the job whose turn it is; return the one job that does the work of all."""
        companions = along(first, self.queue, time.monotonic())
        for job in companions:
            self.queue.give_turn(job)
        shared = how.share([first, *companions])
        for job in shared.members:
            self._begin(job)
        self.queue.run(shared)
        return shared

    def end_member(self, job: Job, result: outcome.Outcome[object]) -> None:
        """End a job that has a part in the running one, which goes on."""
        if job.state == "running":
            self._gathering.note_end(job, time.monotonic())
            self._tell_end(job, result)

    def _begin(self, job: Job) -> None:
        job.start(time.monotonic())
        if job.client is not None:
            self.metrics.waits.observe(job.started_at - job.queued_at)
        self.supervisor.look_at(job)
        self._tell_move(job)

    def _tell_move(self, job: Job) -> None:
        if self._observer is not None:
            self._observer.moved(job)

    # -- between tokens (token_boundary.py) --------------------------------------------------------------------------

    def at_token(self) -> None:
        """Let RKNN calls have the NPU between two tokens; called in a token callback, on any thread."""
        if self.queue.fitting_between_tokens:  # without a lock: what this look misses, the next token finds
            self.boundaries.stop_here()

    def _ask_for_jobs(self, boundary: Boundary) -> None:
        try:
            self._token.run_sync_soon(self._grant, boundary)
        except trio.RunFinishedError:
            boundary.closed.set()

    def _grant(self, boundary: Boundary) -> None:
        """Give the worker the next RKNN call in turn, or let the run go on; on the event loop."""
        job = None
        if time.monotonic() < boundary.closes_at and self.supervisor.outage is None:
            job = self.queue.take(lambda waiting: waiting.fits_between_tokens)
        if job is None:
            self.boundaries.close(boundary)
            return
        self.queue.at_boundary = job
        self._begin(job)
        self.boundaries.give(job, boundary)

    def _do_between(self, job: Job, boundary: Boundary) -> None:
        """Run on the worker thread, while a run's callback waits."""
        with self.journal.working(job.ask):
            result = outcome.capture(job.work)
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._finish_between, job, result, boundary)

    def _finish_between(self, job: Job, result: outcome.Outcome[object], boundary: Boundary) -> None:
        """Run on the event loop when such a call has returned. Must not raise: trio would end the daemon."""
        self.queue.at_boundary = None
        self._note_end(job, result)
        self._grant(boundary)

    def _note_end(self, job: Job, result: outcome.Outcome[object]) -> None:
        self.supervisor.judge(job, result)
        self._tell_end(job, result)

    def _tell_end(self, job: Job, result: outcome.Outcome[object]) -> None:
        took = time.monotonic() - job.since
        self.queue.finished(job)
        self._tell(job, result)
        if self._observer is not None:
            self._observer.ended(job, result)
        if isinstance(result, outcome.Value) and not job.cancelled and job.client is not None:
            self.durations.add(job.method, job.model_name, took * 1000)

    # -- the thread --------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Run on the worker thread until the process ends."""
        self.boundaries.worker = threading.get_ident()
        while (job := self._given.get()) is not None:
            with self.journal.working(job.ask):
                result = outcome.capture(job.work)
            try:
                self._token.run_sync_soon(self._finish, job, result)
            except trio.RunFinishedError:
                return
            # Otherwise what the call was given, such as a client's mapped memory, would stay until the next call comes.
            del job, result

    def _finish(self, job: Job, result: outcome.Outcome[object]) -> None:
        """Run on the event loop when a job's work has returned. Must not raise: trio would end the daemon."""
        self._note_end(job, result)
        self._start_next()
        if self.queue.running is None:
            self.idle.set()

    @staticmethod
    def _tell(job: Job, result: outcome.Outcome[object]) -> None:
        """Call the ``done`` of a job that has ended; whatever that raises, the jobs behind it are still served."""
        try:
            job.done(result)
        except BaseException:  # SystemExit from the work included
            log.exception("job_done_failed", method=job.method)

    def stop(self) -> bool:
        """End the worker thread if it is idle; return false if it, or the thread beside it, is in a call."""
        if self.queue.running is not None or not self.beside.is_idle:
            return False
        self._given.put(None)
        self._thread.join()
        return True

    async def run(self, method: str, work: Callable[[], T]) -> T:
        """Run the daemon's own ``work`` on the worker thread, before all calls that wait, and return its result."""
        finished = trio.Event()
        results: list[outcome.Outcome[T]] = []

        def done(result: outcome.Outcome[object]) -> None:
            results.append(cast("outcome.Outcome[T]", result))
            finished.set()

        self.submit(Job(method, work, done))
        await finished.wait()
        return results[0].unwrap()

"""The one NPU worker thread and its bounded queue: what may run when is decided here and nowhere else.

``Queue`` decides and does nothing else; ``Npu`` is the thread around it. Every npu-kind C call is made by that one
thread, since a context used from two threads has panicked kernels, and no two calls overlap. Everything but the work
itself happens on the event loop.

The event loop may make these C calls itself while the worker is inside a run; anything unproven is ordered behind it:

====================  =================================================================================
``rkllm_abort``       made to be called during a run, from another thread
``rkllm_is_running``  made to be called during a run; guarded by ``is_running_calls``, see config.py
====================  =================================================================================
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import outcome
import structlog
import trio

from rkllmd.errors import Cancelled, InternalError, QueueFull, RpcError, ShuttingDown

log = structlog.get_logger()

# Nothing is known yet about how long what waits will take; a later version estimates it from history.
_RETRY_AFTER_MS: Final = 1000

# The target of a job that is not known before the job's turn: it may be any.
UNRESOLVED: Final = object()


class Job:
    """One call for the worker: the work, and the one place that is told how it ended."""

    __slots__ = (
        "abort",
        "cancelled",
        "changes",
        "client",
        "done",
        "method",
        "queued_at",
        "started_at",
        "state",
        "target",
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
    ) -> None:
        """Describe a call: ``work`` is done on the worker thread, ``done`` called on the event loop.

        ``target`` is the model or context that it is for, ``changes`` the kinds of handles that it makes or releases.
        ``abort``, where it is set, makes the running work end early; it is called on the event loop.
        """
        self.method = method
        self.work = work
        self.done = done
        self.client = client
        self.target = target
        self.changes = changes
        self.abort: Callable[[], None] | None = None
        self.cancelled = False
        self.state = "new"
        self.queued_at = time.monotonic()
        self.started_at = 0.0


class Queue:
    """First in, first out, bounded in all and per client."""

    def __init__(self, limit: int, limit_per_client: int) -> None:
        self.limit = limit
        self.limit_per_client = limit_per_client
        self.running: Job | None = None
        self._waiting: deque[Job] = deque()

    def __len__(self) -> int:
        """Return how many jobs wait; the running one is not among them."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[Job]:
        """Iterate over a snapshot of the waiting jobs, the next one first."""
        return iter(list(self._waiting))

    def add(self, job: Job) -> None:
        """Let ``job`` wait for its turn. Raises QueueFull; never for the daemon's own jobs, which clean up."""
        if job.client is not None:
            waiting = len(self._waiting)
            own = sum(1 for other in self._waiting if other.client is job.client)
            if waiting >= self.limit:
                self._refuse("The queue for the NPU is full", waiting, self.limit)
            if own >= self.limit_per_client:
                what = "This connection has as many calls waiting for the NPU as it may"
                self._refuse(what, own, self.limit_per_client)
        job.state = "queued"
        self._waiting.append(job)

    def next(self) -> Job | None:
        """Take the job that is to run now, if the worker is idle and one waits."""
        if self.running is not None or not self._waiting:
            return None
        self.running = self._waiting.popleft()
        self.running.state = "running"
        return self.running

    def finished(self, job: Job) -> None:
        """Note that the running job has ended."""
        job.state = "finished"
        self.running = None

    def drop(self, job: Job) -> bool:
        """Take a waiting job out; false if it does not wait (any more)."""
        if job.state != "queued":
            return False
        self._waiting.remove(job)
        job.state = "finished"
        return True

    def uses(self, target: object) -> bool:
        """Tell whether a job on this model runs or waits, so that an ordered call must go behind it."""
        return self.runs_on(target) or any(job.target in (target, UNRESOLVED) for job in self._waiting)

    def runs_on(self, target: object) -> bool:
        """Tell whether the worker is inside a job on this model, or on one that may be it."""
        return self.running is not None and self.running.target in (target, UNRESOLVED)

    def changes(self, kinds: Iterable[str]) -> bool:
        """Tell whether a load or an unload runs or waits, after which a null handle may mean another object."""
        if self.running is not None and not self.running.changes.isdisjoint(kinds):
            return True
        # A snapshot: big requests ask from a helper thread.
        return any(not job.changes.isdisjoint(kinds) for job in self if job.changes)

    @staticmethod
    def _refuse(what: str, queued: int, limit: int) -> None:
        raise QueueFull(
            f"{what} ({limit}): try again later.", queued=queued, limit=limit, retry_after_ms=_RETRY_AFTER_MS
        )


class Npu:
    """The worker thread. All methods are called on the event loop."""

    def __init__(self, limit: int, limit_per_client: int) -> None:
        self.queue = Queue(limit, limit_per_client)
        self.closing = False
        self.idle = trio.Event()
        self.idle.set()
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        # A daemon thread: a call that never returns must not keep the process from leaving.
        self._thread = threading.Thread(target=self._serve, name="npu", daemon=True)
        self._thread.start()

    @property
    def state(self) -> str:
        """Return ``idle``, ``loading``, ``running`` or ``aborting``."""
        job = self.queue.running
        if job is None:
            return "idle"
        if job.cancelled:
            return "aborting"
        return "loading" if job.method.endswith(".init") else "running"

    def submit(self, job: Job) -> None:
        """Queue ``job``; its ``done`` is called once, on the event loop, however it ends.

        Raises QueueFull, and ShuttingDown for a client's job; the daemon's own (without a client) still run then.
        """
        if self.closing and job.client is not None:
            raise ShuttingDown("The daemon is shutting down.")
        self.queue.add(job)
        self._start_next()

    def cancel(self, job: Job, error: RpcError | None = None) -> bool:
        """Drop ``job`` if it waits; ask its run to stop if it runs. False if it has already ended."""
        if self.queue.drop(job):
            self._tell(job, outcome.Error(error or Cancelled("The call was cancelled while it waited.")))
            return True
        if job.state != "running":
            return False
        job.cancelled = True
        if job.abort is not None:
            job.abort()
        return True

    def cancel_client(self, client: object) -> None:
        """Drop what a client that is gone has waiting, and stop its running generation."""
        for job in self.queue:
            if job.client is client:
                self.cancel(job)
        running = self.queue.running
        # A load goes on: the model belongs to the daemon, and rkllm_init can't be interrupted anyway.
        if running is not None and running.client is client and running.abort is not None:
            self.cancel(running)

    def close(self) -> None:
        """Refuse new jobs, answer the waiting ones with ShuttingDown and stop the running one."""
        self.closing = True
        for job in self.queue:
            self.cancel(job, ShuttingDown("The daemon is shutting down."))
        if self.queue.running is not None and self.queue.running.abort is not None:
            self.cancel(self.queue.running)

    def _start_next(self) -> None:
        job = self.queue.next()
        if job is None:
            return
        if self.idle.is_set():  # else somebody may be waiting for the one there is
            self.idle = trio.Event()
        job.started_at = time.monotonic()
        self._inbox.put(job)

    def _serve(self) -> None:
        """Run on the worker thread until the process ends."""
        while (job := self._inbox.get()) is not None:
            result = outcome.capture(job.work)
            try:
                self._token.run_sync_soon(self._finish, job, result)
            except trio.RunFinishedError:
                return

    def _finish(self, job: Job, result: outcome.Outcome[Any]) -> None:
        """Run on the event loop when a job's work has returned. Must not raise: trio would end the run."""
        self.queue.finished(job)
        self._tell(job, result)
        self._start_next()
        if self.queue.running is None:
            self.idle.set()

    @staticmethod
    def _tell(job: Job, result: outcome.Outcome[Any]) -> None:
        """Tell how ``job`` has ended; whatever its ``done`` raises, those behind it are still served and told."""
        try:
            job.done(result)
        except BaseException:  # SystemExit from the work included
            log.exception("job_done_failed", method=job.method)

    def stop(self) -> bool:
        """End the worker thread if it is idle; false if it sits in a call."""
        if self.queue.running is not None:
            return False
        self._inbox.put(None)
        self._thread.join()
        return True

    async def run(self, method: str, work: Callable[[], Any]) -> Any:
        """Run the daemon's own ``work`` on the worker thread, behind what waits, and return its result."""
        finished = trio.Event()
        results: list[outcome.Outcome[Any]] = []

        def done(result: outcome.Outcome[Any]) -> None:
            results.append(result)
            finished.set()

        self.submit(Job(method, work, done))
        await finished.wait()
        return results[0].unwrap()


def as_error(error: BaseException, method: str) -> RpcError:
    """Return what a client is told about an exception: itself, or an InternalError with the traceback in the log."""
    if isinstance(error, RpcError):
        return error
    log.error("internal_error", method=method, exc_info=error)
    return InternalError(f"The daemon failed in {method}: its log has the details.")

"""Vision between tokens: RKNN calls that run while a token callback waits.

A camera must not wait for a ten-second answer. While the result callback of a run has not returned, the NPU is idle:
then, and only then, the worker thread makes queued RKNN calls, still one NPU operation at a time.

Three threads take part. The callback opens the boundary; it comes on the worker thread (rkllm_run) or on a thread of
the runtime (rkllm_run_async, while the worker waits for the end of the run). The event loop, which alone changes the
queue, gives jobs to the boundary. The worker thread, to which all RKNN contexts belong, does them.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from rkllmd.npu.job import Job

# How long the worker waits for mail before it looks again whether the boundary is still open: it must not go into C
# while a callback waits there. A job that comes wakes it at once.
_LOOK_SECONDS: Final = 0.05


class Boundary:
    """One stop at a token: open until its time is over or no job waits any more."""

    def __init__(self, seconds: float) -> None:
        self.closes_at = time.monotonic() + seconds
        self.closed = threading.Event()


class Boundaries:
    """The stops of all runs, and what the worker thread does at them."""

    def __init__(
        self, ask: Callable[[Boundary], None], do: Callable[[Job, Boundary], None], seconds: float = 0.0
    ) -> None:
        """``ask(boundary)`` makes the event loop look for jobs; ``do(job, boundary)`` does one, on the worker thread.

        ``seconds``: how long a boundary stays open; 0: there are no boundaries.
        """
        self.seconds = seconds
        self.worker: int | None = None  # the number of the worker thread
        self._ask = ask
        self._do = do
        self._lock = threading.Lock()  # for the next two
        self._worker_waits = False
        self._open: Boundary | None = None
        # A job and its boundary; None makes the worker look again.
        self._mail: queue.SimpleQueue[tuple[Job, Boundary] | None] = queue.SimpleQueue()

    def stop_here(self) -> None:
        """Let waiting RKNN calls run before the callback returns; called in a token callback, on any thread."""
        is_worker = threading.get_ident() == self.worker
        with self._lock:
            # If the runtime calls back on its own thread while the worker is inside C, nobody could do them.
            if not self.seconds or not (is_worker or self._worker_waits):
                return
            boundary = self._open = Boundary(self.seconds)
        self._ask(boundary)
        if not is_worker:
            boundary.closed.wait()
        while not boundary.closed.is_set():
            self._serve(timeout=None)

    def give(self, job: Job, boundary: Boundary) -> None:
        """Give the worker a job; called on the event loop."""
        self._mail.put((job, boundary))

    def close(self, boundary: Boundary) -> None:
        """Let the run go on; called on the event loop."""
        boundary.closed.set()
        self._mail.put(None)

    def wait(self, ended: threading.Event, timeout: float) -> bool:
        """Wait on the worker thread for the end of a run, and do the jobs of boundaries; return false on timeout."""
        deadline = time.monotonic() + timeout
        self._worker_waits = True
        while not ended.is_set():
            self._serve(timeout=max(0.0, deadline - time.monotonic()))
            if time.monotonic() >= deadline and self._leave():
                return ended.is_set()
        self._worker_waits = False
        return True

    def _leave(self) -> bool:
        """Stop waiting, unless a callback waits at a boundary: then the worker must not go into C."""
        with self._lock:
            is_open = self._open is not None and not self._open.closed.is_set()
            self._worker_waits = is_open
        if is_open:
            self._serve(timeout=_LOOK_SECONDS)
        return not is_open

    def wake(self) -> None:
        """Make ``wait`` look again; called by the callback that ends a run."""
        self._mail.put(None)

    def _serve(self, timeout: float | None) -> None:
        try:
            mail = self._mail.get(timeout=timeout)
        except queue.Empty:
            return
        if mail is not None:
            self._do(*mail)

"""The worker's stops at tokens: who serves what waits there, and that nobody goes into C while a callback waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

from rkllmd.npu.job import Job
from rkllmd.npu.token_boundary import Boundaries, Boundary

SECONDS = 120.0


def nothing(*_: Any) -> None:
    pass


def job(name: str) -> Job:
    return Job(name, nothing, nothing)


class Stops:
    """Boundaries whose loop is the test: it takes what is asked, gives jobs, and closes."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.asked: SimpleQueue[Boundary] = SimpleQueue()
        self.done: SimpleQueue[tuple[str, int | None]] = SimpleQueue()  # a job's name, and the thread that did it
        self.boundaries = Boundaries(self.asked.put, self._do, seconds)

    def _do(self, job: Job, boundary: Boundary) -> None:
        self.done.put((job.method, threading.get_ident()))


def started(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("seconds", [0.0, SECONDS])
def test_no_callback_stops_where_nobody_would_serve(seconds: float) -> None:
    """With 0 seconds there are no stops; a runtime's own thread finds no worker while that is inside C."""
    stops = Stops(seconds)
    stops.boundaries.worker = threading.get_ident() if seconds == 0 else None
    stops.boundaries.stop_here()
    assert stops.asked.empty()


def test_on_the_workers_own_thread_the_callback_does_the_jobs_itself() -> None:
    stops = Stops()
    stops.boundaries.worker = threading.get_ident()
    served = []

    def loop() -> None:
        boundary = stops.asked.get(timeout=SECONDS)
        for name in ("first", "second"):
            stops.boundaries.give(job(name), boundary)
            served.append(stops.done.get(timeout=SECONDS))
        stops.boundaries.close(boundary)

    thread = started(loop)
    stops.boundaries.stop_here()
    thread.join()
    assert served == [("first", threading.get_ident()), ("second", threading.get_ident())]


def test_on_a_thread_of_the_runtime_the_waiting_worker_does_them_and_the_callback_waits() -> None:
    stops, ended = Stops(), threading.Event()
    waited: list[bool] = []
    worker = started(lambda: waited.append(stops.boundaries.wait(ended, SECONDS)))
    while not stops.boundaries._worker_waits:
        assert worker.is_alive()
    stops.boundaries.worker = worker.ident
    callback = started(stops.boundaries.stop_here)
    boundary = stops.asked.get(timeout=SECONDS)
    stops.boundaries.give(job("frame"), boundary)
    assert stops.done.get(timeout=SECONDS) == ("frame", worker.ident)
    assert callback.is_alive(), "the run does not go on before the boundary is closed"
    stops.boundaries.close(boundary)
    callback.join(SECONDS)
    assert not callback.is_alive()
    ended.set()
    stops.boundaries.wake()
    worker.join(SECONDS)
    assert waited == [True]
    stops.boundaries.stop_here()
    assert stops.asked.empty(), "nobody waits any more"


def test_the_wait_for_a_run_that_does_not_end_ends_itself() -> None:
    stops = Stops()
    assert stops.boundaries.wait(threading.Event(), 0.0) is False
    stops.boundaries.stop_here()
    assert stops.asked.empty(), "the worker has left"


def test_a_run_that_has_ended_is_not_waited_for() -> None:
    stops, ended = Stops(), threading.Event()
    ended.set()
    assert stops.boundaries.wait(ended, 0.0) is True


def test_a_worker_whose_time_is_over_does_not_leave_a_callback_that_waits() -> None:
    """It would go into C, and the runtime is inside that callback."""
    stops, ended = Stops(), threading.Event()
    stops.boundaries._worker_waits = True
    callback = started(stops.boundaries.stop_here)
    boundary = stops.asked.get(timeout=SECONDS)
    left = threading.Event()
    waited: list[bool] = []

    def wait() -> None:
        waited.append(stops.boundaries.wait(ended, 0.0))
        left.set()

    worker = started(wait)
    stops.boundaries.give(job("frame"), boundary)
    assert stops.done.get(timeout=SECONDS) == ("frame", worker.ident)
    assert not left.is_set()
    assert stops.boundaries._worker_waits
    stops.boundaries.close(boundary)
    worker.join(SECONDS)
    callback.join(SECONDS)
    assert waited == [False]
    assert not callback.is_alive()

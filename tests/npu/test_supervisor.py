"""What is done when a limit passes, and who may use an NPU that is lost. The times are the test's."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import outcome
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from rkllmd.errors import DeviceLost, InvalidParams, RpcError, RuntimeFailure, Timeout
from rkllmd.npu.deadlines import Deadlines
from rkllmd.npu.job import Job
from rkllmd.npu.outage import Outage
from rkllmd.npu.queue import Limits, Queue
from rkllmd.npu.supervisor import Supervisor

LIMITS = Deadlines(wait=1, first=10, between=2, hard_first=100, hard_between=20, load=1000, grace=5)
FAILED = outcome.Error(RuntimeFailure("rknn_run failed.", function="rknn_run", status=-1, log=[]))
CLIENT = object()


class Watched:
    """A supervisor of a queue without a worker, and what it has asked for."""

    def __init__(self) -> None:
        self.queue = Queue(Limits(9, 9, 9))
        self.cancelled: list[tuple[Job, RpcError | None]] = []
        self.starts = 0
        self.told: list[Outage | None] = []
        # What C has used of the CPU by the next looks.
        self.signs: list[float | None] = []
        self.given_up: list[Outage] = []
        self.patience = math.inf
        self.supervisor = Supervisor(
            self.queue,
            self._cancel,
            self._start,
            self.told.append,
            signs=lambda: self.signs.pop(0),
            patience=lambda: self.patience,
            on_given_up=self.given_up.append,
        )

    def _cancel(self, job: Job, error: RpcError | None) -> bool:
        self.cancelled.append((job, error))
        return True

    def _start(self) -> None:
        self.starts += 1

    def waits(self, method: str = "rknn.run", *, client: object = CLIENT, **more: Any) -> Job:
        """Return a job that waits since 1000."""
        job = Job(method, lambda: None, lambda _: None, client=client, deadlines=LIMITS, **more)
        self.queue.add(job)
        job.queued_at = 1000.0
        return job

    def runs(self, method: str = "rknn.run", **more: Any) -> Job:
        """Return a job that runs since 2000."""
        job = self.waits(method, **more)
        assert self.queue.next() is job
        job.start(2000.0)
        return job

    def stuck(self) -> Job:
        """Return a job that the NPU was lost for."""
        job = self.runs()
        with capture_logs():
            for now in (2010, 2015, 2105):
                self.supervisor.check(now)
        assert self.supervisor.outage is not None
        return job


@pytest.fixture
async def watched() -> Watched:
    return Watched()


def outage(retry_at: float = math.inf) -> Outage:
    return Outage("failed to submit!", "Restart.", retry_at, 0.0, 30)


# -- deadlines ---------------------------------------------------------------------------------------------------------


async def test_what_waits_too_long_is_dropped(watched: Watched) -> None:
    job = watched.waits()
    watched.supervisor.check(1000.9)
    assert watched.cancelled == []
    watched.supervisor.check(1001.0)
    ((dropped, error),) = watched.cancelled
    assert dropped is job
    assert isinstance(error, Timeout)
    assert error.data == {"limit_ms": 1000, "elapsed_ms": 1000.0}
    assert watched.starts == 2, "what it kept from running may begin"


async def test_a_call_is_asked_to_stop_then_answered_and_then_the_npu_is_lost(watched: Watched) -> None:
    answers: list[RpcError] = []
    job = watched.runs(give_up=answers.append)
    with capture_logs() as logs:
        watched.supervisor.check(2010)
        assert watched.cancelled == [(job, None)]
        assert answers == []
        watched.supervisor.check(2014.9)
        assert not job.answered
        watched.supervisor.check(2015)
        assert answers == [job.timeout]
        watched.supervisor.check(2104.9)
        assert watched.supervisor.outage is None
        watched.supervisor.check(2105)
    assert [line["event"] for line in logs] == ["call_timed_out", "call_does_not_stop", "device_lost"]
    assert watched.told == [watched.supervisor.outage]
    assert watched.supervisor.outage is not None
    assert watched.supervisor.outage.reason == "rknn.run has not returned for 105 s."
    watched.supervisor.check(9000)
    assert len(watched.told) == 1, "of that call nothing more is due"


def prefilling(watched: Watched) -> Job:
    """Return a run that has no token since 2000."""
    job = watched.runs("rkllm.run", is_generation=True)
    job.deadlines = replace(LIMITS, first=1800, lifeless=300)
    return job


async def test_a_run_in_which_nothing_happens_is_not_waited_for(watched: Watched) -> None:
    job = prefilling(watched)
    # The first look has nothing to compare with; the NPU works; then the processor; a hundredth of a second is idling.
    watched.signs = [7.0, None, 9.0, 12.0, 13.0]
    with capture_logs() as logs:
        for now in (2150, 2300, 2450, 2600):
            watched.supervisor.check(now)
            assert watched.supervisor.outage is None
        watched.supervisor.check(2750)
    assert [line["event"] for line in logs] == ["device_lost"]
    assert watched.supervisor.outage is not None
    assert watched.supervisor.outage.reason == (
        "rkllm.run has no token after 750 s, and neither the processor nor the NPU works on it."
    )
    assert not job.answered, "it may return yet"


async def test_a_late_abort_means_a_stuck_npu_unless_a_prefill_is_to_end_first(watched: Watched) -> None:
    job = prefilling(watched)
    generation = SimpleNamespace(first_token_at=None)
    job.begin(generation)
    watched.supervisor.note_late_abort("rkllm_abort", 10)
    assert watched.supervisor.outage is None
    generation.first_token_at = 2001.0
    with capture_logs():
        watched.supervisor.note_late_abort("rkllm_abort", 20)
    assert watched.supervisor.outage is not None
    assert watched.supervisor.outage.reason == "rkllm_abort has not returned for 20 s."


async def test_an_npu_that_does_not_come_back_is_given_up(watched: Watched) -> None:
    watched.stuck()
    found = watched.supervisor.outage
    assert found is not None
    watched.patience = 60
    watched.supervisor.check(found.began + 59)
    assert watched.given_up == []
    watched.supervisor.check(found.began + 60)
    assert watched.given_up == [found]


async def test_an_npu_that_fails_again_and_again_is_given_up_at_a_trial(watched: Watched) -> None:
    watched.patience = 0.0
    with capture_logs():
        watched.supervisor.lose(outage())
        watched.supervisor.check(1e9)
        assert watched.given_up == [], "nobody has tried it"
        job = watched.runs()
        watched.supervisor.suspect(outage(retry_at=0.0))
        watched.supervisor.judge(job, FAILED)
    assert len(watched.given_up) == 1


async def test_a_call_between_two_tokens_is_watched_too(watched: Watched) -> None:
    job = watched.waits(fits_between_tokens=True)
    watched.queue.take(lambda _: True)
    watched.queue.at_boundary = job
    job.start(2000.0)
    with capture_logs():
        watched.supervisor.check(2010)
    assert watched.cancelled == [(job, None)]


async def test_a_call_without_limits_is_left_alone(watched: Watched) -> None:
    job = watched.runs()
    job.deadlines = None
    watched.supervisor.check(1e9)
    assert watched.cancelled == []
    watched.supervisor.look_at(job)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Watched], list[float]]:
    """Return what notes when a supervisor has looked."""

    def noting(watched: Watched) -> list[float]:
        seen: list[float] = []
        monkeypatch.setattr(watched.supervisor, "check", seen.append)
        return seen

    return noting


async def test_the_watch_wakes_for_what_is_due_earlier_and_for_nothing_else(
    watched: Watched, looks: Callable[[Watched], list[float]], nursery: trio.Nursery
) -> None:
    seen = looks(watched)
    nursery.start_soon(watched.supervisor.watch)
    await wait_all_tasks_blocked()
    assert seen == []
    job = watched.waits()
    job.queued_at = time.monotonic() + 1000
    watched.supervisor.look_at(job)
    await wait_all_tasks_blocked()
    assert len(seen) == 1, "it sleeps for this one from now on"
    later = watched.waits()
    later.queued_at = time.monotonic() + 2000
    watched.supervisor.look_at(later)
    await wait_all_tasks_blocked()
    assert len(seen) == 1


async def test_the_watch_wakes_when_what_the_daemon_does_itself_may_try(
    watched: Watched, looks: Callable[[Watched], list[float]], nursery: trio.Nursery
) -> None:
    """Nobody else's call makes it begin."""
    seen = looks(watched)
    with capture_logs():
        watched.supervisor.lose(outage(time.monotonic() - 1))
    nursery.start_soon(watched.supervisor.watch)
    for _ in range(10):
        await trio.lowlevel.checkpoint()
    assert seen == [], "nothing waits"
    job = watched.waits(client=None)
    job.deadlines = None
    watched.supervisor.look_at(job)
    with trio.fail_after(60):
        while not seen:
            await trio.lowlevel.checkpoint()


# -- a stuck NPU -------------------------------------------------------------------------------------------------------


async def test_when_the_npu_is_lost_clients_are_answered_and_the_daemons_own_waits(watched: Watched) -> None:
    theirs = watched.waits()
    watched.waits("rknn.destroy", client=None)
    with capture_logs():
        watched.supervisor.lose(outage())
    ((dropped, error),) = watched.cancelled
    assert dropped is theirs
    assert isinstance(error, DeviceLost)


async def test_since_when_it_is_lost_stays_true(watched: Watched) -> None:
    first, second = outage(), outage()
    first.since, first.began = "2026-01-01T00:00:00+00:00", 5.0
    with capture_logs():
        watched.supervisor.lose(first)
        watched.supervisor.lose(second)
    assert watched.supervisor.outage is second
    assert (second.since, second.began) == (first.since, 5.0)


async def test_what_a_runtime_printed_is_believed_if_that_call_fails(watched: Watched) -> None:
    job = watched.runs()
    watched.supervisor.suspect(outage())
    with capture_logs():
        watched.supervisor.judge(job, FAILED)
    assert watched.told == [watched.supervisor.outage]
    assert watched.supervisor.outage is not None
    assert watched.supervisor.outage.retry_at > time.monotonic()


@pytest.mark.parametrize("result", [outcome.Value(None), outcome.Error(InvalidParams("no"))], ids=["worked", "refused"])
async def test_what_a_runtime_printed_is_forgotten_if_the_call_does_not_fail(watched: Watched, result: Any) -> None:
    watched.supervisor.suspect(outage())
    job = watched.runs()
    watched.supervisor.judge(job, FAILED)
    assert watched.supervisor.outage is None, "it was said while nothing ran"
    watched.supervisor.suspect(outage())
    watched.supervisor.judge(job, result)
    watched.supervisor.judge(job, FAILED)
    assert watched.supervisor.outage is None


async def test_one_call_may_try_when_it_is_time_and_nothing_else_is_on(watched: Watched) -> None:
    supervisor = watched.supervisor
    supervisor.check_device()
    with capture_logs():
        supervisor.lose(outage(time.monotonic() + 1000))
    assert not supervisor.lets_start()
    with pytest.raises(DeviceLost, match="stuck since"):
        supervisor.check_device()
    with capture_logs():
        supervisor.lose(outage(time.monotonic() - 1))
    assert supervisor.lets_start()
    supervisor.check_device()
    watched.waits()
    with pytest.raises(DeviceLost):
        supervisor.check_device()
    running = watched.queue.next()
    assert running is not None
    running.start(time.monotonic())
    with pytest.raises(DeviceLost):
        supervisor.check_device()


async def test_while_the_npu_is_well_nobody_is_refused(watched: Watched) -> None:
    watched.runs("rkllm.run").progressed_at = lambda: 2001.0
    watched.waits()
    watched.supervisor.check_device()
    assert watched.told == []


async def test_the_end_of_another_call_than_the_stuck_one_tells_nothing(watched: Watched) -> None:
    watched.stuck()
    beside = Job("rknn.run", lambda: None, lambda _: None, proves_npu=True)
    beside.start(3000.0)
    watched.supervisor.judge(beside, outcome.Value(None))
    assert watched.supervisor.outage is not None


@pytest.mark.parametrize(
    ("proves", "started_at", "result", "is_back"),
    [
        (True, 2000.0, outcome.Value(None), True),
        (False, 2000.0, outcome.Value(None), False),
        (True, 2000.0, FAILED, False),
        (True, 1999.0, outcome.Value(None), False),
    ],
    ids=["proof", "no proof", "failure", "before"],
)
async def test_the_npu_is_back_when_a_trial_that_proves_it_succeeds(
    watched: Watched, proves: bool, started_at: float, result: Any, is_back: bool
) -> None:
    with capture_logs() as logs:
        watched.supervisor.lose(outage(retry_at=2000.0))
        job = watched.runs(proves_npu=proves)
        job.start(started_at)
        watched.supervisor.judge(job, result)
    assert (watched.supervisor.outage is None) is is_back
    assert (watched.told[-1] is None) is is_back
    assert ("device_back" in [line["event"] for line in logs]) is is_back


async def test_the_npu_is_back_when_the_stuck_call_returns_however(watched: Watched) -> None:
    job = watched.stuck()
    with capture_logs():
        watched.supervisor.judge(job, FAILED)
    assert watched.supervisor.outage is None
    assert watched.told[-1] is None


async def test_a_stuck_call_that_returns_after_a_runtime_has_complained_as_well_proves_nothing(
    watched: Watched,
) -> None:
    job = watched.stuck()
    with capture_logs():
        watched.supervisor.lose(outage(time.monotonic() + 1000))
        watched.supervisor.judge(job, outcome.Value(None))
    assert watched.supervisor.outage is not None


@pytest.mark.parametrize(
    ("started_at", "token_at", "is_back"),
    [(2000.0, 2000.5, True), (2000.0, 0.0, False), (1999.0, 2000.5, False)],
    ids=["token", "no token", "before"],
)
async def test_a_first_token_proves_it_before_the_generation_ends(
    watched: Watched, started_at: float, token_at: float, is_back: bool
) -> None:
    with capture_logs():
        watched.supervisor.lose(outage(retry_at=2000.0))
        job = watched.runs("rkllm.run")
        job.start(started_at)
        job.progressed_at = lambda: token_at
        if is_back:
            watched.supervisor.check_device()
        else:
            with pytest.raises(DeviceLost):
                watched.supervisor.check_device()
    assert (watched.supervisor.outage is None) is is_back

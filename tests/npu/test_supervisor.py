"""Who may use an NPU that is lost, and when it is back. The times are the test's."""

from __future__ import annotations

import time
from typing import Any

import outcome
import pytest
from structlog.testing import capture_logs

from rkllmd.errors import DeviceLost, InvalidParams
from rkllmd.npu.job import Job
from tests.npu.watching import FAILED, Watched, outage


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

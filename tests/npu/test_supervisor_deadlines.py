"""What is done when a limit passes. The times are the test's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from rkllmd.errors import RpcError, Timeout
from rkllmd.npu.job import Job
from tests.npu.watching import FAILED, LIMITS, Watched, outage


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

"""How long a run may go on when its call is answered. The clock is trio's, and jumps."""

from __future__ import annotations

import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from rkllmd.interruption import Interruption
from rkllmd.vision.detached_run import DetachedRun


async def test_it_is_stopped_when_its_time_is_over(autojump_clock: MockClock) -> None:
    run = DetachedRun(Interruption(), 5.0)
    run.watch()
    with capture_logs() as logs:
        await trio.sleep(4.9)
        assert not run.interruption.is_set
        await trio.sleep(0.2)
    assert run.interruption.is_set
    assert run.timeout is not None
    assert run.timeout.message == "The run took longer than its limit of 5000 ms."
    assert run.timeout.data == {"limit_ms": 5000, "elapsed_ms": 5000.0}
    assert [(line["event"], line["method"]) for line in logs] == [("call_timed_out", "rknn.run")]


async def test_one_that_has_ended_is_left_alone(autojump_clock: MockClock) -> None:
    ended, late = DetachedRun(Interruption(), 5.0), DetachedRun(Interruption(), 5.0)
    ended.watch()
    await wait_all_tasks_blocked()
    ended.unwatch()
    late.unwatch()
    late.watch()
    await trio.sleep(10)
    assert not ended.interruption.is_set
    assert not late.interruption.is_set, "the order in which the loop is told does not matter"
    assert ended.timeout is None

"""Detached calls: how many are kept, for how long, for whom. The clock is trio's, and jumps."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from rkllmd.calls.detached.call import DetachedCall
from rkllmd.calls.detached.calls import KEPT_SECONDS, DetachedCalls
from rkllmd.config.quotas import quota
from rkllmd.errors import QueueFull
from rkllmd.store.jobs import Bounds
from rkllmd.wire.long_strings import LongJson, LongText, dumps

MANY = 1000


def call_of(user: int = 1) -> DetachedCall:
    return DetachedCall("rkllm.run", number=7, user=user, name=f"job of {user}")


def bounds(most: int, of_user: int, most_bytes: int = MANY, *, is_operator: bool = False, reserve: int = 0) -> Bounds:
    return Bounds(quota("max_jobs", most, of_user, reserve=reserve), quota("max_job_bytes", most_bytes, 0), is_operator)


def added(kept: DetachedCalls, user: int = 1, most: int = MANY, most_of_user: int = MANY) -> DetachedCall:
    call = call_of(user)
    kept.add(call, bounds(most, most_of_user))
    return call


def ended(kept: DetachedCalls, result: Any = None, user: int = 1, most_bytes: int = 2**20) -> DetachedCall:
    call = added(kept, user)
    call.end(result, None)
    kept.keep(call, most_bytes)
    return call


def found(kept: DetachedCalls, *calls: DetachedCall) -> list[bool]:
    return [kept.find(call.id, call.user) is call for call in calls]


async def test_a_result_is_kept_for_ten_minutes_after_its_end(mock_clock: MockClock) -> None:
    kept = DetachedCalls()
    slow = added(kept)
    mock_clock.jump(10 * KEPT_SECONDS)
    assert found(kept, slow) == [True], "it has not ended"
    slow.end(None, None)
    kept.keep(slow, 1000)
    mock_clock.jump(599)
    assert found(kept, slow) == [True]
    mock_clock.jump(2)
    assert found(kept, slow) == [False]
    assert len(kept) == 0


async def test_what_is_not_asked_for_goes_as_well(autojump_clock: MockClock) -> None:
    kept = DetachedCalls()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kept.run)
        await wait_all_tasks_blocked()
        first = ended(kept)
        await trio.sleep(400)
        second = ended(kept)
        await trio.sleep(199)
        assert len(kept) == 2
        await trio.sleep(2)
        assert list(kept) == [second]
        assert found(kept, first, second) == [False, True]
        kept.forget(second)
        third = ended(kept)
        await trio.sleep(KEPT_SECONDS - 1)
        assert list(kept) == [third], "the clock that ran for the second one takes nothing else along"
        await trio.sleep(2)
        assert len(kept) == 0
        nursery.cancel_scope.cancel()


async def test_only_its_user_finds_a_job() -> None:
    kept = DetachedCalls()
    call = added(kept, user=1000)
    assert kept.find(call.id, 1000) is call
    assert kept.find(call.id, 1001) is None
    assert kept.find(call.id, 0) is None
    assert kept.find("", 1000) is None


async def test_of_one_user_the_oldest_that_has_ended_makes_room() -> None:
    kept = DetachedCalls()
    running, first, second, other = added(kept), ended(kept), ended(kept), ended(kept, user=2)
    new = added(kept, most_of_user=3)
    assert found(kept, running, first, second, other, new) == [True, False, True, True, True]
    newer = added(kept, most_of_user=3)
    assert found(kept, running, second, new, newer) == [True, False, True, True]
    with pytest.raises(QueueFull) as caught:
        added(kept, most_of_user=3)
    told = {"setting": "max_jobs_per_user", "limit": 3, "used": 3, "whose": "user"}
    assert caught.value.data == {"queued": 3, "retry_after_ms": 1000, **told}
    assert "This user" in caught.value.message
    assert added(kept, user=2, most_of_user=3)


async def test_operators_find_room_among_jobs_of_all_others() -> None:
    kept = DetachedCalls()
    for user in (1, 2):
        kept.add(call_of(user), bounds(3, 3, reserve=1))
    with pytest.raises(QueueFull, match="All users together have as many jobs as may be"):
        kept.add(call_of(3), bounds(3, 3, reserve=1))
    kept.add(call_of(0), bounds(3, 3, reserve=1, is_operator=True))


async def test_in_all_the_oldest_of_who_has_most_makes_room() -> None:
    kept = DetachedCalls()
    modest = ended(kept, user=1)
    greedy = [ended(kept, user=2) for _ in range(3)]
    new = added(kept, user=3, most=4)
    assert found(kept, modest, *greedy, new) == [True, False, True, True, True]
    full = DetachedCalls()
    added(full, user=1)
    with pytest.raises(QueueFull) as caught:
        added(full, user=2, most=1)
    assert caught.value.data["limit"] == 1


async def test_results_are_bounded_by_their_bytes() -> None:
    kept = DetachedCalls()
    modest = ended(kept, "x" * 100, user=1)
    first, second = (ended(kept, "x" * 400, user=2, most_bytes=1000) for _ in range(2))
    assert kept.result_bytes == 102 + 2 * 402
    third = ended(kept, "x" * 400, user=2, most_bytes=1000)
    assert found(kept, modest, first, second, third) == [True, False, True, True]
    assert kept.result_bytes <= 1000


async def test_a_result_that_is_too_large_is_an_error_and_takes_nothing_along() -> None:
    kept = DetachedCalls()
    small = ended(kept, "x")
    call = ended(kept, "x" * 1000, most_bytes=999)
    assert call.status == "error"
    assert call.error is not None
    assert (call.error["data"]["kind"], call.error["data"]["needed_bytes"]) == ("OutOfMemory", 1002)
    assert call.result is None
    assert found(kept, small, call) == [True, True]


async def test_a_result_that_is_no_json_is_an_error() -> None:
    call = ended(DetachedCalls(), {"x": object()})
    assert call.error is not None
    assert call.error["data"]["kind"] == "InternalError"


async def test_a_result_is_kept_as_json_and_answered_as_it_was() -> None:
    call = ended(DetachedCalls(), {"text": 'ä"', "data": LongText([b"QUJD", b"REVG"])})
    assert isinstance(call.result, LongJson)
    for _ in range(2):
        pieces = dumps({"id": 1, "result": call.result, "last": True})
        assert isinstance(pieces, list)
        assert b"".join(pieces) == '{"id":1,"result":{"text":"ä\\"","data":"QUJDREVG"},"last":true}\n'.encode()


async def test_when_the_daemon_leaves_the_log_has_what_nobody_has_read() -> None:
    kept = DetachedCalls()
    read, unread, running = ended(kept), ended(kept), added(kept)
    read.was_read = True
    with capture_logs() as logs:
        kept.close()
    assert running.error is not None
    assert running.error["data"]["kind"] == "ShuttingDown"
    lines = [(line["event"], line["job"], line["error"]) for line in logs]
    assert lines == [("job_not_read", unread.id, None), ("job_not_read", running.id, "ShuttingDown")]

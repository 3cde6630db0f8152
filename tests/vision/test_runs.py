"""Runs that do not block: who waits for their end, what stops one, and who is told how it ended."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.layouts.rknn import rknn_run_extend
from rkllmd.errors import Cancelled, RuntimeFailure, Timeout
from rkllmd.interruption import Interruption, current, obeying
from rkllmd.vision import runs
from rkllmd.vision.detached_run import DetachedRun
from tests.vision.rooms import Room, invocation

LATE = Timeout("The run took longer than it may.", limit_ms=1, elapsed_ms=1.0)


def non_block() -> rknn_run_extend:
    return rknn_run_extend(non_block=1)


def interrupted() -> Interruption:
    found = Interruption()
    found.set()
    return found


# -- run ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [0, 1])
def test_a_run_of_the_vendors_goes_on_if_it_was_asked_not_to_block(asked: int) -> None:
    room = Room()
    context = room.context()
    context.ended = object()  # type: ignore[assignment]
    runs.run(room, invocation(), context, rknn_run_extend(non_block=asked))
    assert (context.is_running, context.detached, context.ended) == (bool(asked), None, None)
    assert room.runtime.called == ["rknn_run"]


def test_a_run_that_does_not_begin_is_none() -> None:
    room = Room("portable")
    room.runtime.fails["rknn_run"] = -1
    context = room.context()
    with pytest.raises(RuntimeFailure):
        runs.run(room, invocation(interruption=Interruption()), context, non_block())
    assert not context.is_running
    assert room.soon == []


@pytest.mark.parametrize("limit", [5.0, math.inf, None])
def test_one_that_can_be_stopped_has_an_interruption_and_a_limit_of_its_own(limit: float | None) -> None:
    room = Room("portable")
    context, call = room.context(), Interruption()
    obeyed: list[Interruption | None] = []
    room.runtime.during["rknn_run"] = lambda: obeyed.append(current())
    deadlines = None if limit is None else SimpleNamespace(first=limit)
    with obeying(call):
        runs.run(room, invocation(interruption=call, deadlines=deadlines), context, non_block())
        assert current() is call
    assert context.is_running
    assert context.detached is not None
    assert obeyed == [context.detached.interruption]
    assert context.detached.interruption is not call, "the call's ends with its answer"
    assert context.detached.seconds == (math.inf if limit is None else limit)
    assert room.soon == ([context.detached.watch] if limit == 5.0 else [])


# -- wait --------------------------------------------------------------------------------------------------------------


def running(room: Room, owner: int = 1, timeout: Timeout | None = None) -> Any:
    """Return a context whose run goes on and can be stopped."""
    context: Any = room.context(owner, is_running=True)
    context.detached = DetachedRun(Interruption(), math.inf, timeout)
    return context


def fails() -> None:
    raise RuntimeFailure("rknn_wait failed.", function="rknn_wait", status=-1, log=[])


def test_the_end_is_noted_when_it_is_waited_for() -> None:
    room = Room("portable")
    context = running(room)
    unwatch = context.detached.unwatch
    runs.wait(room, invocation(), context, lambda: None)
    assert (context.is_running, context.detached, room.soon) == (False, None, [unwatch])


def test_a_wait_that_fails_leaves_the_run() -> None:
    room = Room("portable")
    context = running(room)
    with pytest.raises(RuntimeFailure):
        runs.wait(room, invocation(), context, fails)
    assert context.is_running


def test_a_run_that_was_longer_than_it_may_ends_with_that() -> None:
    room = Room("portable")
    context = running(room, timeout=LATE)
    with pytest.raises(Timeout) as caught:
        runs.wait(room, invocation(), context, fails)
    assert caught.value is LATE
    assert not context.is_running


def test_a_wait_that_is_cancelled_stops_the_run() -> None:
    room = Room("portable")
    context = running(room, timeout=LATE)
    stopped = context.detached.interruption
    with obeying(interrupted()), pytest.raises(Cancelled, match="the run that it waited for was stopped"):
        runs.wait(room, invocation(), context, fails)
    assert stopped.is_set
    assert not context.is_running
    with pytest.raises(Cancelled, match="the call that waited for it was cancelled"):
        runs.has_ended(context)


def test_a_run_that_can_not_be_stopped_goes_on() -> None:
    room = Room()
    context = room.context(is_running=True)
    runs.stop(room, context)
    assert (context.is_running, context.ended) == (True, None)


# -- finish ------------------------------------------------------------------------------------------------------------


def test_the_vendors_npu_does_one_thing_at_a_time() -> None:
    room = Room()
    first, second, idle = room.context(is_running=True), room.context(2, is_running=True), room.context()
    runs.finish(room, invocation(client=1))
    assert room.runtime.called == ["rknn_wait"] * 2
    assert [item.is_running for item in (first, second, idle)] == [False] * 3
    assert [runs.has_ended(item) for item in (first, second, idle)] == [True, True, False]


@pytest.mark.parametrize(
    ("client", "is_target", "interruptible", "waits"),
    [(1, False, True, True), (2, True, True, True), (2, False, True, False), (1, True, False, False)],
    ids=["own", "target", "another's", "no call that can be interrupted"],
)
def test_nobody_waits_for_anothers_run_that_can_be_stopped(
    client: int, is_target: bool, interruptible: bool, waits: bool
) -> None:
    room = Room("portable")
    context = running(room)
    call = invocation(
        client=client, target=context if is_target else None, interruption=Interruption() if interruptible else None
    )
    runs.finish(room, call)
    assert room.runtime.called == ["rknn_wait"] * waits


def test_when_the_daemon_leaves_it_waits_for_no_run_that_can_be_stopped() -> None:
    room = Room("portable")
    running(room)
    runs.finish(room)
    assert room.runtime.called == []


def test_how_a_run_ended_that_the_daemon_waited_for_is_told_when_the_client_asks() -> None:
    room = Room()
    room.runtime.fails["rknn_wait"] = -7
    context = room.context(is_running=True)
    runs.finish(room)
    with pytest.raises(RuntimeFailure) as caught:
        runs.has_ended(context)
    assert caught.value.data["status"] == -7
    assert runs.has_ended(context) is False, "once"


def test_a_run_that_was_longer_than_it_may_is_told_as_that() -> None:
    room = Room("portable")
    room.runtime.fails["rknn_wait"] = -7
    context = running(room, timeout=LATE)
    runs.finish(room, invocation(interruption=Interruption()))
    with pytest.raises(Timeout):
        runs.has_ended(context)


def test_a_call_that_is_cancelled_while_it_waits_leaves_the_run() -> None:
    room = Room()
    context = room.context(is_running=True)
    with obeying(interrupted()), pytest.raises(Cancelled, match="while it waited for a run"):
        runs.finish(room)
    assert (context.is_running, context.ended) == (True, None)

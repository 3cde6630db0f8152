"""When a daemon is started again, who answers meanwhile, and when one counts as stuck; without any process."""

from __future__ import annotations

import signal

import pytest

from rkllmd.keeper.course import ABORT, KILL, Course, Pulse, status_after
from rkllmd.keeper.ties import CANNOT_START, UNEXPECTED, USAGE


def pauses(course: Course, count: int) -> list[float]:
    """Return how long the keeper waits after each of this many crashes in a row, before anything has settled."""
    found = []
    for _ in range(count):
        course.ended(100.0)
        found.append(round(course.start_at - 100.0, 3))
    return found


def test_the_pause_doubles_from_a_tenth_of_a_second_to_thirty() -> None:
    assert pauses(Course(0.0), 11) == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]


def test_a_daemon_that_had_settled_is_started_again_as_after_the_first_crash() -> None:
    course = Course(0.0)
    pauses(course, 6)
    course.settled()
    assert pauses(course, 1) == [0.1]
    assert course.crashes == 7, "all are counted"


def test_one_that_was_ready_and_has_not_settled_counts_as_a_failure() -> None:
    """Its clients were let in, but a model that it loads by itself kills it each time."""
    course = Course(0.0)
    for _ in range(4):
        course.ready(1.0)
        course.ended(2.0)
    course.ready(1.0)
    assert pauses(course, 1) == [1.6]


def test_clients_wait_for_a_daemon_that_comes_soon() -> None:
    course = Course(0.0)
    assert not course.answers(29.0), "a start"
    course.ready(1.0)
    assert not course.answers(1000.0)
    course.ended(1000.0)
    assert not course.answers(1000.0)
    assert course.answers(1031.0), "one that takes its time"
    course.ready(1032.0)
    assert not course.answers(1032.0)


def test_in_a_crash_loop_they_are_answered_at_once() -> None:
    course = Course(0.0)
    pauses(course, 4)
    assert not course.answers(1.0)
    assert pauses(course, 1) == [1.6]
    assert course.answers(1.0)
    course.ready(2.0)
    assert not course.answers(2.0), "there is one"


def test_when_it_is_worth_coming_back() -> None:
    course = Course(0.0)
    course.ready(0.5)  # a start takes half a second
    pauses(course, 5)
    assert course.retry_after_ms(100.0) == 2100
    assert course.retry_after_ms(101.6) == 500
    assert course.retry_after_ms(200.0) == 500


# --------------------------------------------------------------------------------------------------------------------
# A stuck event loop


def looks(pulse: Pulse, times: list[float], beats: list[int], *, in_long_call: bool = False) -> list[str | None]:
    return [pulse.look(at, count, in_long_call=in_long_call) for at, count in zip(times, beats, strict=True)]


def test_a_loop_that_stands_still_is_aborted_and_then_killed() -> None:
    pulse = Pulse(0.0)
    assert looks(pulse, [1, 2, 3, 4, 5, 6], [1, 2, 2, 2, 2, 2]) == [None] * 6
    assert pulse.is_fresh
    assert pulse.look(7.0, 2, in_long_call=False) == ABORT
    assert not pulse.is_fresh
    assert looks(pulse, [8, 9], [2, 3]) == [None, None], "it has two seconds for its last words, beats or not"
    assert pulse.look(10.0, 3, in_long_call=False) == KILL


def test_all_of_it_takes_less_than_ten_seconds() -> None:
    """With what a start takes: looked at once a second, stuck right after a beat."""
    pulse = Pulse(0.0)
    pulse.look(1.0, 1, in_long_call=False)
    found = {due: at for at in range(2, 20) if (due := pulse.look(float(at), 1, in_long_call=False)) is not None}
    del found[KILL]
    assert found == {ABORT: 6}
    pulse = Pulse(0.0)
    pulse.look(1.0, 1, in_long_call=False)
    killed = next(at for at in range(2, 20) if pulse.look(float(at), 1, in_long_call=False) == KILL)
    assert killed <= 9


def test_a_loop_that_turns_is_left_alone() -> None:
    pulse = Pulse(0.0)
    assert looks(pulse, list(range(1, 100)), list(range(1, 100))) == [None] * 99


def test_a_start_and_a_long_call_have_more_time() -> None:
    pulse = Pulse(0.0)
    assert looks(pulse, list(range(1, 60)), [0] * 59) == [None] * 59, "a minute until the loop turns at all"
    assert pulse.look(61.0, 0, in_long_call=False) == ABORT
    pulse = Pulse(0.0)
    pulse.look(1.0, 1, in_long_call=True)
    assert looks(pulse, list(range(2, 22)), [1] * 20, in_long_call=True) == [None] * 20
    assert pulse.look(22.0, 1, in_long_call=True) == ABORT


def test_a_keeper_that_was_held_up_itself_does_not_blame_the_daemon() -> None:
    """The machine slept, or was too busy to run either of them."""
    pulse = Pulse(0.0)
    pulse.look(1.0, 1, in_long_call=False)
    assert pulse.look(1000.0, 1, in_long_call=False) is None
    assert pulse.look(2000.0, 1, in_long_call=False) is None


# --------------------------------------------------------------------------------------------------------------------
# What an end means

SERVED = {"is_stopping": False, "has_served": True, "has_socket": True}


@pytest.mark.parametrize("code", [-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGKILL, 0, 1, 3, USAGE])
def test_a_daemon_that_has_served_is_started_again_however_it_ended(code: int) -> None:
    """A library may call exit(0)."""
    assert status_after(code, **SERVED) is None


@pytest.mark.parametrize(("code", "status"), [(0, 0), (1, 1), (-signal.SIGTERM, 0), (-signal.SIGKILL, 137)])
def test_one_that_was_to_leave_is_not(code: int, status: int) -> None:
    assert status_after(code, **{**SERVED, "is_stopping": True}) == status


def test_one_that_cannot_start_is_not() -> None:
    assert status_after(CANNOT_START, **SERVED) == CANNOT_START


@pytest.mark.parametrize("code", [USAGE, UNEXPECTED])
def test_nor_one_that_fails_at_the_very_first_start(code: int) -> None:
    """The next one would fail as well, for ever."""
    assert status_after(code, is_stopping=False, has_served=False, has_socket=True) == code
    assert status_after(code, **SERVED) is None


@pytest.mark.parametrize("code", [0, 1, 130])
def test_one_that_did_not_come_so_far_as_to_have_a_socket_is_not(code: int) -> None:
    assert status_after(code, is_stopping=False, has_served=False, has_socket=False) == code


def test_but_a_signal_is_nobodys_mistake() -> None:
    assert status_after(-signal.SIGKILL, is_stopping=False, has_served=False, has_socket=False) is None

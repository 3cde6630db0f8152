"""Which events are logged, and which are only counted."""

from __future__ import annotations

from rkllmd.log import repetition
from rkllmd.log.repetition import Allowance, Repetition


def test_the_first_of_a_kind_are_logged_and_the_others_counted() -> None:
    counted = Repetition(seconds=10, most=3)
    assert [counted.admit("refused", 0.1 * number) for number in range(5)] == [True, True, True, False, False]
    assert counted.admit("other", 0.5)
    assert counted.left_out == 2
    assert counted.ended(9.9) == []
    assert counted.ended(10.0) == [("refused", 2)]
    assert counted.ended(10.0) == []


def test_each_window_begins_anew() -> None:
    counted = Repetition(seconds=10, most=1)
    assert counted.admit("x", 0)
    assert not counted.admit("x", 9)
    assert counted.ended(11) == [("x", 1)]
    assert counted.admit("x", 11)
    assert counted.ended(21) == []  # nothing was left out


def test_windows_end_each_in_its_own_time() -> None:
    counted = Repetition(seconds=10, most=0)
    counted.admit("a", 0)
    counted.admit("b", 5)
    assert counted.ended(10) == [("a", 1)]
    assert counted.ended(14.9) == []
    assert counted.ended(15) == [("b", 1)]


def test_kinds_without_number_do_not_fill_the_memory() -> None:
    counted = Repetition(seconds=10, most=1)
    admitted = sum(counted.admit(number, 0) for number in range(100_000))
    assert admitted <= repetition._MOST_KINDS + 1
    assert len(counted.ended(10)) <= repetition._MOST_KINDS + 1


def test_megabytes_of_what_c_prints_are_logged_at_once_and_few_for_ever() -> None:
    allowance = Allowance()
    now, size = 1000.0, 200
    assert sum(allowance.admit(size, now) for _ in range(100_000)) == repetition._PRINTED_BYTES // size
    day = 86_400
    logged = sum(size for second in range(day) for _ in range(10) if allowance.admit(size, now + second))
    assert logged <= day * repetition._PRINTED_BYTES_PER_SECOND
    assert allowance.admit(repetition._PRINTED_BYTES, now + 2 * day)
    assert not allowance.admit(repetition._PRINTED_BYTES + 1, now + 4 * day)

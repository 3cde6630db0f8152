"""Descriptors are closed exactly once, by who owns them last, and not while they are lent."""

from __future__ import annotations

import os

import pytest

from rkllmd.wire.descriptors import NO_DESCRIPTORS, Descriptors


def made(count: int, size: int = 0) -> list[int]:
    numbers = [os.memfd_create("test") for _ in range(count)]
    for number in numbers:
        os.ftruncate(number, size)
    return numbers


def are_open(numbers: list[int]) -> list[bool]:
    def is_open(number: int) -> bool:
        try:
            os.fstat(number)
        except OSError:  # EBADF
            return False
        return True

    return [is_open(number) for number in numbers]


def test_they_are_closed_once() -> None:
    numbers = made(2, size=1000)
    owned = Descriptors(numbers)
    assert (len(owned), owned[1], [*owned], owned.shared_bytes()) == (2, numbers[1], numbers, 2000)
    owned.close()
    assert are_open(numbers) == [False, False]
    again = made(2)  # the kernel gives the numbers to somebody else
    assert again == numbers
    owned.close()
    assert are_open(again) == [True, True]
    assert not owned
    Descriptors(again).close()


def test_what_was_taken_is_closed_by_its_new_owner_alone() -> None:
    numbers = made(3)
    waiting = Descriptors()
    for number in numbers:
        waiting.add(number)
    taken = waiting.take(2)
    assert ([*taken], [*waiting]) == (numbers[:2], numbers[2:])
    waiting.close()
    assert are_open(numbers) == [True, True, False]
    taken.close()
    assert are_open(numbers) == [False] * 3


def test_what_is_lent_is_closed_when_it_is_given_back() -> None:
    numbers = made(1)
    owned = Descriptors(numbers)
    owned.lend()
    owned.close()
    assert are_open(numbers) == [True], "the work still reads it"
    owned.give_back()
    assert are_open(numbers) == [False]


def test_what_is_given_back_first_is_closed_afterwards() -> None:
    numbers = made(1)
    owned = Descriptors(numbers)
    owned.lend()
    owned.give_back()
    assert are_open(numbers) == [True], "nobody has asked for that yet"
    owned.close()
    assert are_open(numbers) == [False]


def test_none_is_nobodys() -> None:
    NO_DESCRIPTORS.lend()
    NO_DESCRIPTORS.close()
    NO_DESCRIPTORS.give_back()
    assert not NO_DESCRIPTORS
    with pytest.raises(AssertionError):
        NO_DESCRIPTORS.add(0)

"""Who is given up where too much waits for clients."""

from __future__ import annotations

import trio

from rkllmd.gateway.web.bounds.unread import Unread


def _scopes(count: int) -> list[trio.CancelScope]:
    return [trio.CancelScope() for _ in range(count)]


def _given_up(scopes: list[trio.CancelScope]) -> list[int]:
    return [number for number, scope in enumerate(scopes) if scope.cancel_called]


async def test_who_has_waited_for_longest_is_given_up() -> None:
    unread, scopes = Unread(10), _scopes(4)
    for scope in scopes[:3]:
        unread.hold(scope, "a", 3)
    assert _given_up(scopes) == []
    unread.hold(scopes[3], "a", 4)
    assert (_given_up(scopes), unread.total) == ([0], 10)


async def test_it_is_one_of_the_address_for_which_most_waits() -> None:
    unread, scopes = Unread(10), _scopes(5)
    for scope, address in zip(scopes, "abbbc", strict=True):
        unread.hold(scope, address, 3)
    assert (_given_up(scopes), unread.total) == ([1, 2], 9)


async def test_what_is_taken_makes_room() -> None:
    unread, scopes = Unread(10), _scopes(3)
    unread.hold(scopes[0], "a", 8)
    unread.take(scopes[0], 7)
    unread.hold(scopes[1], "a", 9)
    unread.let_go(scopes[1])
    unread.let_go(scopes[1])
    unread.hold(scopes[2], "a", 9)
    assert (_given_up(scopes), unread.total) == ([], 10)


async def test_an_answer_of_any_length_is_sent_alone() -> None:
    unread, scopes = Unread(10), _scopes(2)
    unread.hold(scopes[0], "a", 11)
    assert _given_up(scopes) == []
    unread.hold(scopes[1], "b", 1)
    unread.take(scopes[0], 1)
    assert (_given_up(scopes), unread.total) == ([0], 1)


async def test_all_are_given_up_at_the_end() -> None:
    unread, scopes = Unread(), _scopes(3)
    for scope in scopes:
        unread.hold(scope, "a", 1)
    unread.give_up()
    assert _given_up(scopes) == [0, 1, 2]

"""Users take turns, and nobody's clients fill the lobby."""

from __future__ import annotations

from rkllmd.net.listening import lobby
from rkllmd.net.listening.lobby import LEAST_ROOM, Lobby

ANNA, BERTA = 1000, 1001


def test_users_take_turns_and_each_ones_clients_come_in_their_order() -> None:
    waiting: Lobby[str] = Lobby()
    for user, name in [(ANNA, "a1"), (ANNA, "a2"), (ANNA, "a3"), (BERTA, "b1"), (BERTA, "b2"), (0, "root")]:
        waiting.add(user, name)
    assert [waiting.next() for _ in range(len(waiting))] == ["a1", "b1", "root", "a2", "b2", "a3"]
    assert not waiting


def test_of_one_user_only_so_many_wait() -> None:
    waiting: Lobby[int] = Lobby()
    waiting.add(BERTA, 7)
    for number in range(LEAST_ROOM):
        assert waiting.is_crowded == (number > lobby._CROWD)
        assert waiting.has_room(ANNA)
        waiting.add(ANNA, number)
    assert not waiting.has_room(ANNA)
    assert waiting.has_room(BERTA)
    assert [waiting.next(), waiting.next()] == [7, 0]
    assert waiting.has_room(ANNA)
    assert len(waiting) == LEAST_ROOM - 1


def test_of_all_users_only_so_many_are_taken() -> None:
    waiting: Lobby[int] = Lobby(500)
    number = 0
    while not waiting.is_full:
        assert waiting.has_room(number % 5)
        waiting.add(number % 5, number)
        number += 1
    assert number == 500 * lobby._USERS
    waiting.next()
    assert not waiting.is_full

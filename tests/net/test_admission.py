"""Who may connect, and who makes room."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rkllmd.config.quotas import Quota
from rkllmd.errors import QueueFull
from rkllmd.net.admission import IDLE_SECONDS, Rules, admit, has_room

ROOT, ANNA, BERTA = 0, 1000, 1001
NOW = 1000.0
RULES = Rules(Quota("max_connections", "max_connections_per_user", 10, 6, 8), lambda user: user == ROOT)


@dataclass
class Client:
    """A client as admission sees it."""

    user: int | None
    heard_at: float = NOW
    waits: bool = False

    def is_waiting(self) -> bool:
        """Return what the test says."""
        return self.waits


def silent(user: int, count: int = 1, seconds: float = IDLE_SECONDS) -> list[Client]:
    return [Client(user, NOW - seconds - number) for number in range(count)]


def busy(user: int, count: int) -> list[Client]:
    return [Client(user, NOW - 1000, waits=True) for _ in range(count)]


def test_nobody_has_to_go_while_there_is_room() -> None:
    assert admit(ANNA, [*silent(ANNA, 5), *silent(BERTA, 2)], RULES, NOW) is None


def test_a_user_beyond_its_part_loses_the_client_that_was_silent_for_longest() -> None:
    guests = [*silent(ANNA, 6), *silent(BERTA, 1, seconds=9999)]
    assert admit(ANNA, guests, RULES, NOW) is guests[5]
    assert admit(BERTA, guests, RULES, NOW) is None


@pytest.mark.parametrize("guests", [busy(ANNA, 6), silent(ANNA, 6, seconds=-5)], ids=["open calls", "just heard"])
def test_who_has_something_open_or_was_just_heard_stays(guests: list[Client]) -> None:
    with pytest.raises(QueueFull, match="max_connections_per_user") as refused:
        admit(ANNA, guests, RULES, NOW)
    about = {"setting": "max_connections_per_user", "limit": 6, "used": 6, "whose": "user"}
    assert refused.value.data == {"queued": 6, "retry_after_ms": 1000, **about}


def test_a_newcomer_takes_the_place_of_who_has_most_idle_clients() -> None:
    guests = [*silent(ANNA, 6), *silent(BERTA, 2, seconds=9999)]
    assert admit(1002, guests, RULES, NOW) is guests[5]


def test_the_reserve_is_for_operators() -> None:
    guests = [*busy(ANNA, 5), *busy(BERTA, 3)]
    with pytest.raises(QueueFull, match="8 clients are connected, and the limit is 8"):
        admit(1002, guests, RULES, NOW)
    assert admit(ROOT, guests, RULES, NOW) is None


def test_operators_keep_their_places_before_others() -> None:
    guests = [*busy(ANNA, 5), *silent(ROOT, 3, seconds=9999)]
    with pytest.raises(QueueFull):
        admit(BERTA, guests, RULES, NOW)


def test_operators_are_bounded_by_all_there_are_and_by_nothing_else() -> None:
    assert admit(ROOT, silent(ROOT, 9), RULES, NOW) is None
    guests = [*busy(ROOT, 9), *silent(ANNA)]
    assert admit(ROOT, guests, RULES, NOW) is guests[9]
    with pytest.raises(QueueFull, match="max_connections"):
        admit(ROOT, busy(ROOT, 10), RULES, NOW)


@pytest.mark.parametrize("user", [ANNA, ROOT])
@pytest.mark.parametrize("whose", [ANNA, BERTA, ROOT])
def test_where_there_is_room_for_anybody_nobody_is_dropped_or_refused(user: int, whose: int) -> None:
    fitting = [count for count in range(12) if has_room(count, RULES)]
    assert fitting == list(range(6))
    assert all(admit(user, silent(whose, count), RULES, NOW) is None for count in fitting)

"""What requests may take of memory: nobody gets more than there is, and nobody takes it all."""

from __future__ import annotations

import pytest

from rkllmd.errors import FrameTooLarge, QueueFull
from rkllmd.wire.budget import Bounds, Budget, Holding

ANNA, BERTA, CARLA, OPERATOR = 1, 2, 3, 4
MOST = 800


@pytest.fixture
def budget() -> Budget:
    return Budget(lambda: Bounds(MOST, 1), lambda user: user == OPERATOR)


def holding(budget: Budget, user: int, size: int = 0) -> Holding:
    made = Holding(budget, user)
    made.change(size)
    return made


def test_one_user_gets_half_and_is_told_to_wait(budget: Budget) -> None:
    first, second = holding(budget, ANNA, 300), holding(budget, ANNA)
    with pytest.raises(QueueFull, match="of this user") as refused:
        second.change(101)
    assert {**refused.value.data} == {"queued": 300, "limit": 400, "retry_after_ms": 1000}
    assert (second.size, budget.held_bytes) == (0, 300), "nothing has changed"
    holding(budget, BERTA, 400)
    first.release()
    second.change(101)
    assert budget.held_by(ANNA) == 101


def test_what_can_never_fit_is_not_told_to_wait(budget: Budget) -> None:
    mine = holding(budget, ANNA, 350)
    with pytest.raises(FrameTooLarge) as refused:
        mine.change(401)
    assert refused.value.data == {"limit": 400}


def test_the_last_eighth_is_the_operators(budget: Budget) -> None:
    holding(budget, ANNA, 350)
    holding(budget, BERTA, 350)
    with pytest.raises(QueueFull) as refused:
        holding(budget, CARLA, 1)
    assert refused.value.data["limit"] == 700
    holding(budget, OPERATOR, 100)
    with pytest.raises(QueueFull):
        holding(budget, OPERATOR, 1)


def test_less_is_always_taken_and_what_must_be_too(budget: Budget) -> None:
    mine = holding(budget, ANNA)
    mine.change(1000, always=True)
    mine.change(900)
    assert mine.is_alone
    other = holding(budget, ANNA)
    other.change(5, always=True)
    assert not mine.is_alone
    mine.change(0)
    other.change(0)
    assert (budget.held_bytes, budget.held_by(ANNA)) == (0, 0)


def test_what_is_shared_is_held_until_the_last_one_lets_go(budget: Budget) -> None:
    shared = holding(budget, ANNA, 10)
    shared.share()
    shared.release()
    assert budget.held_bytes == 10
    shared.release()
    assert budget.held_bytes == 0

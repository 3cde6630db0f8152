"""Units of work."""

from __future__ import annotations

import pytest

from rkllmd.chat.templates.sandbox.budget import (
    MOST_CALLS_DEEP,
    OverBudget,
    characters,
    limited,
    one_call_deeper,
    spend,
)


def test_a_budget_that_is_overspent_stays_so() -> None:
    with limited(10) as budget:
        spend(10)
        with pytest.raises(OverBudget):
            spend(1)
        with pytest.raises(OverBudget):
            spend(0)
        with limited(5):
            spend(5)
        assert budget.left < 0


def test_characters_cost_little_but_something() -> None:
    assert characters(0) == 1
    assert 900 < characters(64_000) < 1100


def test_calls_have_a_depth() -> None:
    def call(deep: int) -> int:
        with one_call_deeper():
            return call(deep - 1) if deep else 0

    with limited(10):
        assert call(MOST_CALLS_DEEP - 1) == 0
        with pytest.raises(OverBudget, match="deep"):
            call(MOST_CALLS_DEEP)
        assert call(MOST_CALLS_DEEP - 1) == 0

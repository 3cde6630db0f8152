"""How large values are."""

from __future__ import annotations

import pytest

from rkllmd.chat.templates.sandbox.budget import OverBudget, limited
from rkllmd.chat.templates.sandbox.weight import MOST_LEVELS, NotAllowed, as_list, charge, charge_items


def cost(value: object, times: int = 1) -> int:
    with limited(10_000) as budget:
        charge(value, times)
        return 10_000 - budget.left


def test_everything_in_a_value_counts() -> None:
    assert cost("a") < cost("a" * 1000) < cost(["a" * 1000] * 3)
    assert cost({"a": [1, 2, {"b": 3}]}) > cost({"a": []})
    assert cost([1, 2, 3], times=4) > 3 * cost([1, 2, 3]) - 4
    assert cost({"a": 1}.items()) > 2
    assert cost(range(500)) > 500


def test_what_occurs_twice_counts_twice() -> None:
    value: object = 1
    for _ in range(50):
        value = [value, value]
    with limited(10_000), pytest.raises(OverBudget, match="too long"):
        charge(value)


def test_lists_in_lists_have_a_limit() -> None:
    value: object = 1
    for _ in range(MOST_LEVELS):
        value = (value,)
    with limited(10_000), pytest.raises(OverBudget, match="deep"):
        charge(value)


def test_only_what_has_a_text_of_known_length_is_printed() -> None:
    with limited(10_000):
        charge([1, "a", None, 2.5, {"a": True}], printed=True)
        charge([object()])
        with pytest.raises(NotAllowed, match="prints a object"):
            charge([object()], printed=True)


def test_items_are_counted_without_what_is_in_them() -> None:
    with limited(10_000) as budget:
        charge_items([["a" * 10_000]] * 5)
        charge_items("a" * 40)
        assert 10_000 - budget.left == 17


def test_what_can_be_looked_at_once_becomes_a_list() -> None:
    assert as_list(iter([1, 2])) == [1, 2]
    assert as_list("ab") == "ab"

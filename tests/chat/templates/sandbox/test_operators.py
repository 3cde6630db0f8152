"""Operators are checked before they make something large."""

from __future__ import annotations

import pytest

from rkllmd.chat.templates.sandbox.budget import OverBudget, characters, limited
from rkllmd.chat.templates.sandbox.operators import ESCAPED, binary, check_widths
from rkllmd.chat.templates.sandbox.weight import NotAllowed
from rkllmd.json_types import Json


@pytest.mark.parametrize(
    ("name", "left", "right", "result"),
    [
        ("+", 2, 3, 5),
        ("+", "a", "b", "ab"),
        ("+", [1], [2], [1, 2]),
        ("-", 2, 3, -1),
        ("*", 3, "ab", "ababab"),
        ("*", "ab", -1, ""),
        ("/", 3, 2, 1.5),
        ("//", 7, 2, 3),
        ("**", 2, 10, 1024),
        ("**", 2, -1, 0.5),
        ("**", 1, 10**30, 1),
        ("%", 7, 4, 3),
        ("%", "%s-%03d", ("a", 7), "a-007"),
    ],
)
def test_an_operator_does_what_it_does_in_python(name: str, left: Json, right: Json, result: Json) -> None:
    with limited(1000):
        assert binary(name, left, right) == result


@pytest.mark.parametrize(
    ("name", "left", "right"),
    [
        ("*", "a", 10**6),
        ("*", 10**6, [1]),
        ("+", "a" * 10**5, "a"),
        ("%", "%s" * 100, "a" * 1000),
        ("-", {"a": 1}.keys(), [1] * 2000),
    ],
)
def test_what_would_be_large_is_over_the_budget(name: str, left: Json, right: Json) -> None:
    with limited(1000), pytest.raises(OverBudget):
        binary(name, left, right)


@pytest.mark.parametrize(("left", "right", "times"), [("a" * 640, "b" * 640, 1), (["a"] * 640, ["b"] * 640, ESCAPED)])
def test_a_text_is_paid_once_and_what_may_be_escaped_as_often_as_it_may_grow(
    left: Json, right: Json, times: int
) -> None:
    with limited(10**6) as budget:
        binary("+", left, right)
    assert 10**6 - budget.left == characters(2 * 640 * times)


@pytest.mark.parametrize(("name", "left", "right"), [("**", 2, 1025), ("*", 2**600, 2**600), ("**", 10, 10**10)])
def test_integers_have_a_limit(name: str, left: int, right: int) -> None:
    with limited(1000), pytest.raises(NotAllowed, match="1024 bits"):
        binary(name, left, right)


@pytest.mark.parametrize("pattern", ["%9999d", "{:1000}", "%*d", "{:.5000f}"])
def test_widths_have_three_digits(pattern: str) -> None:
    with pytest.raises(NotAllowed, match="width"):
        check_widths(pattern)
    check_widths("%-999s {:>100}")

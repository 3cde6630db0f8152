"""Methods of values: which there are, and that they cost what they take."""

from __future__ import annotations

import pytest

from rkllmd.chat.templates.sandbox.budget import OverBudget, limited
from rkllmd.chat.templates.sandbox.methods import of_builtin
from rkllmd.chat.templates.sandbox.weight import NotAllowed
from rkllmd.json_types import Json


def cost(owner: Json, name: str, *arguments: Json) -> int:
    with limited(100_000) as budget:
        of_builtin(owner, name, arguments)
        return 100_000 - budget.left


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("a", "encode"),
        ("a", "format_map"),
        ([1], "append"),
        ({}, "update"),
        (1, "to_bytes"),
        (b"a", "upper"),
        ("", "x"),
    ],
)
def test_what_templates_do_not_need_is_not_called(owner: Json, name: str) -> None:
    with pytest.raises(NotAllowed, match=f"calls {type(owner).__name__}.{name}"):
        cost(owner, name)


def test_a_look_up_costs_little() -> None:
    assert cost({"a": "b" * 10_000}, "get", "a") < 5


def test_the_length_of_a_text_counts() -> None:
    text = "ab" * 5000
    for name, arguments in [("upper", ()), ("startswith", ("a",)), ("strip", ("ab",)), ("find", ("c",))]:
        assert cost(text, name, *arguments) > cost("ab", name, *arguments) + 100
    assert cost(text, "split", "a") > 5000
    assert cost(text, "split") > 2000
    assert cost(text, "find", "a" * 90) > 5 * cost(text, "find", "a")
    assert cost(text, "replace", "a" * 90, "") > cost(text, "find", "a" * 90), "it is searched, whatever is found"


def test_what_grows_is_paid_before() -> None:
    assert cost("a" * 100, "replace", "a", "b" * 1000) > 1000
    assert cost("b" * 1000, "join", ["a"] * 100) > 1000
    assert cost("\t" * 100, "expandtabs", 1000) > 1000
    with pytest.raises(NotAllowed, match="10000"):
        cost("a", "center", 20_000)
    with pytest.raises(OverBudget):
        cost("a" * 10_000, "replace", "a", "b" * 10_000)

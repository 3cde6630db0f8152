"""The filters and tests that chat templates have use for: what each of them makes is in test_model_template."""

from __future__ import annotations

import pytest
from jinja2.filters import FILTERS
from jinja2.tests import TESTS

from rkllmd.chat.templates.sandbox import filters
from rkllmd.chat.templates.sandbox.budget import OverBudget, limited
from rkllmd.chat.templates.sandbox.environment import ChatEnvironment
from rkllmd.chat.templates.sandbox.weight import NotAllowed

# They make HTML or something random, or print any value.
LEFT_OUT = {"filesizeformat", "pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr"}


def evaluated(expression: str, units: int = 5000) -> str:
    with limited(50_000):
        template = ChatEnvironment().compiled("{{ " + expression + " }}")
    with limited(units):
        return template.render()


def test_each_filter_and_test_of_jinja_is_there_or_left_out() -> None:
    assert filters.filters().keys() == FILTERS.keys() - LEFT_OUT
    assert filters.tests().keys() == TESTS.keys()


def test_what_a_filter_promises_is_computed_at_once() -> None:
    assert evaluated("(['a'] | map('upper')) is iterable") == "True"
    assert evaluated("['a', 'b'] | map('upper') | list") == "['A', 'B']"
    assert evaluated("(['a', 'b'] | map('upper')) is sequence") == "False"
    assert evaluated("[1, 2, 3] | select('odd') | map('string') | join('+')") == "1+3"


def test_a_sum_is_that_of_jinja() -> None:
    assert evaluated("[1, 2.5] | sum") == "3.5"
    assert evaluated("[{'a': 1}, {'a': 2}] | sum(attribute='a', start=10)") == "13"
    assert evaluated("[[1], [2]] | sum(start=[])") == "[1, 2]"


@pytest.mark.parametrize(
    "expression",
    [
        "(range(3000) | list) | tojson",
        "('a' * 3000) | replace('a', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb')",
        "(range(1000) | list) | sort",
        "(range(1000) | list) | map('string') | list",
        "(range(2000) | list) | string",
        "('a' * 1000) | list | join('b' * 1000)",
    ],
)
def test_what_a_filter_takes_is_paid_for(expression: str) -> None:
    with pytest.raises(OverBudget):
        evaluated(expression)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("'a' | center(5000)", "above 1000"),
        ("[1] | batch(5000)", "above 1000"),
        ("1.5 | round(400)", "300 places"),
        ("[1] | tojson(indent=100)", "between values"),
        ("('1' * 2000) | int", "long text"),
        ("'%s' is even", "no number"),
    ],
)
def test_large_numbers_are_refused(expression: str, reason: str) -> None:
    with pytest.raises(NotAllowed, match=reason):
        evaluated(expression)

"""Where a value ends."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.chat.answers.syntax.nesting import MAX_DEPTH, Nesting

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def end(text: str, quotes: str = '"', size: int = 1) -> int | None:
    """Return how much of a text is the value that it begins with, in pieces of a size; None if it does not end."""
    nesting = Nesting(quotes)
    for start in range(0, len(text), size):
        piece = text[start : start + size]
        at = nesting.feed(piece, 0)
        if nesting.is_hopeless:
            return None
        if nesting.is_over:
            return start + at
        assert at == len(piece)
    return None


@given(st.lists(JSON) | st.dictionaries(st.text(), JSON) | st.text(), st.text(), st.integers(1, 9), st.booleans())
def test_a_json_value_ends_where_it_ends(value: object, rest: str, size: int, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert end(text + rest, size=size) == len(text)
    assert end(text[:-1], size=size) is None


@pytest.mark.parametrize("text", ["[}", "{]", "{(}", "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)])
def test_brackets_that_do_not_match_and_too_many_of_them_are_hopeless(text: str) -> None:
    assert end(text + "x") is None


def test_it_is_bounded_at_a_hundred_levels() -> None:
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert end(text) == len(text)


def test_other_quotes() -> None:
    text = """('it\\'s )', "a ')", [1])"""
    assert end(text + ")", quotes="\"'") == len(text)
    assert end("(it's)", quotes='"') == 6

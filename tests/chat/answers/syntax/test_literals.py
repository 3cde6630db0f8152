"""Values as Python and Gemma write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.chat.answers.syntax.literals import Literals
from tests.chat.answers.syntax.values import VALUES


@given(st.dictionaries(st.sampled_from(["city", "_days", "é"]), VALUES))
def test_what_python_writes_is_read(arguments: dict[str, Any]) -> None:
    text = "(" + ", ".join(f"{name}={value!r}" for name, value in arguments.items()) + ")"
    assert Literals(text).arguments() == arguments


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("()", {}),
        ("( a = 1 , )", {"a": 1}),
        ("(a='it\\'s', b=\"\\n\\x41\\u20ac\\q\")", {"a": "it's", "b": "\nA€\\q"}),
        ("(a='one' \n 'two', b=r'\\d')", {"a": "onetwo", "b": "\\d"}),
        ("(a=.5, b=1., c=+2, d=-1_000, e=1e3)", {"a": 0.5, "b": 1.0, "c": 2, "d": -1000, "e": 1000.0}),
        ("(a=(1, 2), b=[], c={}, d={'k': [True, None]})", {"a": [1, 2], "b": [], "c": {}, "d": {"k": [True, None]}}),
        ("(a=true, b=false, c=null)", {"a": True, "b": False, "c": None}),
    ],
)
def test_python(text: str, arguments: dict[str, Any]) -> None:
    assert Literals(text).arguments() == arguments


@pytest.mark.parametrize(
    "text",
    ["", "(", "(1)", "('a')", "(a)", "(a=)", "(a=b)", "(a=1 b=2)", "(a=1) b", "(a=f(1))", "(a=1+1)", "(a='\\ud800')",
     "(a={1: 2})", "(a=[1, 2)", "(a=-)", "(a=1e999)", "(a='x)", "(a=" + "[" * 500 + ")", "(1a=2)"],
)  # fmt: skip
def test_what_is_no_plain_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whatever it says: nobody is told
        Literals(text).arguments()


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("{}", {}),
        ("{a:<q>x, y: {z}<q>,b:1,c:true}", {"a": "x, y: {z}", "b": 1, "c": True}),
        ("{a:[<q>x<q>,2.5],b:{c:null}}", {"a": ["x", 2.5], "b": {"c": None}}),
        ("{a:plain words,<q>b<q>:<q><q>}", {"a": "plain words", "b": ""}),
    ],
)
def test_strings_between_marks(text: str, arguments: dict[str, Any]) -> None:
    assert Literals(text, "<q>").arguments() == arguments


@pytest.mark.parametrize("text", ["{a:<q>x}", "{a}", "{a:}", "{a:1", "{a:1}}", "{<q>a:1}", "(a=1)"])
def test_what_is_none_between_marks_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # as above
        Literals(text, "<q>").arguments()

"""JSON that is taken from a model."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given

from rkllmd.chat.answers.syntax.json_text import dump, parse, parse_object
from tests.chat.answers.syntax.values import VALUES


@given(VALUES)
def test_what_is_written_is_read_and_can_be_sent(value: object) -> None:
    assert parse(dump(value)) == value
    assert orjson.loads(orjson.dumps(parse(dump(value)))) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{'a': 1}",
        "NaN",
        "-Infinity",
        "1e999",
        str(2**64),
        "1" * 5000,
        '"\\ud800"',
        '"\ud800"',
        '{"\\udfff": 1}',
        "[" * 100_000,
    ],
)
def test_what_nobody_can_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whatever it says: nobody is told
        parse(text)


def test_a_newline_within_a_string_is_forgiven() -> None:
    assert parse('"a\nb"') == "a\nb"
    assert parse('"\\ud83d\\ude00"') == "😀"


def test_an_object_may_stand_in_a_string() -> None:
    assert parse_object('{"a": 1}') == parse_object('"{\\"a\\": 1}"') == {"a": 1}


@pytest.mark.parametrize("text", ["[]", "null", '"a"', '"[]"', "1"])
def test_nothing_else_is_an_object(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # as above
        parse_object(text)

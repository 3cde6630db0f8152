"""Errors: each kind has the code that the protocol gives it, and carries nothing that can't be sent."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from rkllmd import errors
from rkllmd.errors import RpcError

PROTOCOL = Path(__file__).parents[1] / "docs" / "protocol.md"
STANDARD = {
    "ParseError": -32700,
    "InvalidRequest": -32600,
    "FrameTooLarge": -32600,
    "DuplicateId": -32600,
    "MethodNotFound": -32601,
    "InvalidParams": -32602,
    "InternalError": -32603,
}
KINDS = {
    item.kind: item
    for name, item in vars(errors).items()
    if isinstance(item, type) and issubclass(item, RpcError) and name[0] != "_" and item is not RpcError
}


def of_the_protocol() -> dict[str, int]:
    """Return kind → code from the table in section 6."""
    section = PROTOCOL.read_text().partition("\n## 6.")[2].partition("\n## 7.")[0]
    rows = re.findall(r"^\| (?:◌ )?(-32\d{3}) \| ((?:◌? ?`\w+`,? ?)+)\|", section, re.MULTILINE)
    return {kind: int(code) for code, kinds in rows for kind in re.findall(r"`(\w+)`", kinds)}


def test_every_kind_has_the_code_of_the_protocol() -> None:
    table = {**STANDARD, **of_the_protocol()}
    assert len(table) > 15, "the table was found"
    for kind, error in KINDS.items():
        assert error.code == table[kind], kind


def test_codes_are_the_standard_ones_or_in_our_range() -> None:
    for kind, error in KINDS.items():
        assert kind in STANDARD or -32099 <= error.code <= -32000


def test_every_standard_kind_exists() -> None:
    assert KINDS.keys() >= STANDARD.keys()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_error_is_an_error_object(kind: str) -> None:
    answer = KINDS[kind]("One sentence.", path="$.x", limit=5).to_json()
    assert answer.keys() == {"code", "message", "data"}
    assert answer["data"]["kind"] == kind
    assert (answer["data"]["path"], answer["data"]["limit"]) == ("$.x", 5)
    assert "One sentence." in (answer["message"], answer["data"].get("detail"))
    assert orjson.loads(orjson.dumps(answer)) == answer


@pytest.mark.parametrize(
    ("kind", "title"),
    [("ParseError", "Parse error"), ("InvalidRequest", "Invalid Request"), ("MethodNotFound", "Method not found")],
)
def test_where_the_specification_has_a_word_the_message_is_that(kind: str, title: str) -> None:
    answer = KINDS[kind]("Why.").to_json()
    assert answer["message"] == title
    assert answer["data"]["detail"] == "Why."


def test_an_error_says_itself() -> None:
    assert str(errors.Cancelled("Gone.")) == "Gone."
    assert errors.Cancelled("Gone.").message == "Gone."


def test_an_unusable_runtime_is_told_with_its_fix_once() -> None:
    apart = errors.RuntimeUnavailable("There is none.", searched=[], found=None, fix="Install one.")
    assert apart.sentence == "There is none. Install one."
    within = errors.RuntimeUnavailable(
        "It is not built: make it.", searched=[], found=None, fix="It is not built: make it"
    )
    assert within.sentence == "It is not built: make it."


@pytest.mark.parametrize(
    ("path", "begins"), [("$.model_path", "model_path: "), ("$[0]", "[0]: "), ("$", ""), (None, "")]
)
def test_a_message_begins_with_the_path_that_it_is_about(path: str | None, begins: str) -> None:
    assert errors.lead(path) == begins


def test_frames_go_with_all_errors_that_led_to_one() -> None:
    def failed() -> BaseException:
        try:
            try:
                raise KeyError("first")
            except KeyError as first:
                raise ValueError("second") from first
        except ValueError as second:
            second.__cause__, second.__context__ = second.__context__, second.__cause__
            try:
                raise errors.InvalidParams("third") from None
            except errors.InvalidParams as third:
                return third

    error = failed()
    errors.let_frames_go(error)
    second = error.__context__
    assert second is not None
    assert [found.__traceback__ for found in (error, second, second.__cause__) if found] == [None] * 3

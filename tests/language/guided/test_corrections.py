"""What a model is told in the place of its illegal words."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.language.guided.corrections import MOST_ROUNDS, Correction, Corrections
from rkllmd.language.guided.grammar import Grammar
from rkllmd.language.guided.judge import Judge
from rkllmd.language.guided.legal_text import LegalText
from rkllmd.language.guided.schema.schemas import rewrite

NUMBERS = {"type": "array", "items": {"type": "integer"}}


def corrections(schema: Any, *pieces: str, samples_anew: bool = True) -> Corrections:
    text = LegalText(Judge(Grammar(rewrite(schema))))
    for piece in pieces:
        text.feed(piece)
    return Corrections(text, samples_anew=samples_anew)


@pytest.mark.parametrize(
    ("schema", "pieces", "correction"),
    [
        # Forced words; with the legal part of the piece, and with the model's own where a mark was all that it forgot.
        ({"const": {"a": 1}}, ["Sure"], Correction(1, b'{"a": 1}', b'{"a": 1}')),
        ({"enum": ["kitchen", "bath"]}, ['"ki', "x"], Correction(1, b'tchen"', b'tchen"')),
        ({"enum": ["kitchen", "bath"]}, ['"ki tc'], Correction(1, b'"kitchen"', b'tchen"')),
        ({"type": "object", "minProperties": 1}, ["{name"], Correction(1, b'{"name', b'"name')),
        # A mark that was forgotten, where other words could follow as well.
        (NUMBERS, ["[1", "", " 2"], Correction(2, b" ,2", b",2")),
        ({}, ["hello"], Correction(1, b'"hello', b'"hello')),
        # Only what was legal.
        (NUMBERS, ["[1", ", x"], Correction(1, b", ")),
        # Another choice: the piece before is read once more.
        (NUMBERS, ["[1", ",", "x"], Correction(2, b",", tries=1)),
    ],
)
def test_what_comes_first(schema: Any, pieces: list[str], correction: Correction) -> None:
    assert corrections(schema, *pieces).next(100) == correction


def test_where_choices_fail_the_words_before_are_read_again_and_then_the_shortest_text_is_taken() -> None:
    found = corrections(NUMBERS, "[", "x")
    first = found.next(12)
    assert first == Correction(2, b"[", tries=1)
    found.text.go_on()
    found.text.feed("y")
    assert found.next(12) == Correction(2, b"[", tries=2), "12 tokens: 10 before, the bracket and the refused one"
    found.text.go_on()
    found.text.feed("z")
    assert found.next(12) == Correction(1, b"]", b"]")


def test_a_runtime_without_sampling_of_a_runs_own_gets_the_shortest_text_at_once() -> None:
    assert corrections(NUMBERS, "[", "x", samples_anew=False).next(12) == Correction(1, b"]", b"]")
    assert corrections({"type": "boolean"}, "maybe").next(12) == Correction(1, b"true", b"true")


def test_a_judge_that_has_come_to_its_limits_says_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    found = corrections({"const": {"a": 1}}, "Sure")
    monkeypatch.setattr(Judge, "error", "too many states")
    assert found.next(5) is None


def test_an_answer_that_is_whole_or_was_corrected_too_often_ends() -> None:
    assert corrections({"type": "integer"}, "12", "a").next(5) is None
    found = corrections({"type": "string"}, '"a')
    for _ in range(MOST_ROUNDS):
        found.text.refused = b"\x01"
        found.text.refused_tokens = 1
        assert found.next(5) is not None
        found.text.go_on()
    found.text.refused = b"\x01"
    assert found.next(5) is None

"""Answers that have a form, or are calls."""

from __future__ import annotations

import pytest

from rkllmd.chat.answers.dialect import DIALECTS, in_form
from tests.chat.answers.whole import paris, read, read_in_all_ways

CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>'
FORMED = in_form(DIALECTS["hermes"])


def test_an_answer_that_begins_with_a_call_is_read_as_without_a_form() -> None:
    whole = read_in_all_ways(FORMED, f"\n{CALL}\n{CALL}")
    assert (whole.text, whole.calls) == ("", [paris(), paris()])


@pytest.mark.parametrize(
    "text", ['{"said": "CALL"}', '["</think>", "CALL"]', '"<think>"', " 1", "<tool_", '{"name": "get_weather"}', ""]
)
def test_any_other_is_text_whatever_marks_stand_in_it(text: str) -> None:
    text = text.replace("CALL", CALL.replace('"', '\\"'))
    whole = read_in_all_ways(FORMED, text)
    assert (whole.text, whole.calls, whole.reasoning) == (text, [], "")


def test_what_begins_like_a_call_and_is_none_is_text() -> None:
    assert read_in_all_ways(FORMED, "<tool_call>}").text == "<tool_call>}"


@pytest.mark.parametrize("name", DIALECTS)
def test_each_dialect_knows_its_own_marks(name: str) -> None:
    spoken = DIALECTS[name]
    assert all(read(spoken, [f"{opening} nothing"]).calls == [] for opening in spoken.openings)
    text = f'["{"".join(spoken.openings)}"]'
    assert read_in_all_ways(in_form(spoken), text).text == text

"""An answer's reasoning, text and calls as members of results."""

from __future__ import annotations

from typing import Any

from rkllmd.chat.answers.dialect import DIALECTS
from rkllmd.chat.answers.reading import AnswerReader
from rkllmd.language.texts.answer import Answer

TOOLS = [{"name": "search"}]
CALL = '<tool_call>{"name": "search", "arguments": {"query": "a"}}</tool_call>'
WHOLE_CALL: dict[str, Any] = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "search", "arguments": {"query": "a"}},
    "arguments_text": '{"query": "a"}',
}


def reader(**options: Any) -> AnswerReader:
    """Return a reader of Hermes' dialect, whose calls have one id."""
    return AnswerReader(DIALECTS["hermes"], **{"tools": TOOLS, "new_id": lambda: "call_1", **options})


def test_each_piece_shows_what_it_is() -> None:
    answer = Answer(reader())
    shown = [answer.add(piece) for piece in ("<think>So", ".</think>", "I look.", CALL[:51], CALL[51:], "")]
    assert shown == [
        {"text": "", "reasoning": "So"},
        {"text": "", "reasoning": "."},
        {"text": "I look."},
        {
            "text": "",
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "search"},
                    "arguments_text": '{"query"',
                }
            ],
        },
        {
            "text": "",
            "tool_calls": [{"index": 0, "arguments_text": ': "a"}', "function": WHOLE_CALL["function"]}],
        },
        {"text": ""},
    ]
    assert answer.end("") == {"text": ""}
    assert answer.whole() == {"text": "I look.", "reasoning": "So.", "tool_calls": [WHOLE_CALL]}


def test_a_call_that_comes_at_once_has_its_whole_form() -> None:
    answer = Answer(reader())
    assert answer.add(CALL)["tool_calls"] == [{"index": 0, **WHOLE_CALL}]


def test_a_call_that_never_ends_is_dropped_and_becomes_text() -> None:
    answer = Answer(reader())
    answer.add(CALL[:50])
    assert answer.end("") == {"text": CALL[:50], "tool_calls": [{"index": 0, "dropped": True}]}
    assert answer.whole() == {"text": CALL[:50]}


def test_an_answer_without_anything_is_an_empty_text() -> None:
    answer = Answer(reader())
    assert answer.add("") == answer.end("") == answer.whole() == {"text": ""}


def test_what_has_come_so_far_does_not_change_with_what_comes_later() -> None:
    answer = Answer(reader())
    answer.add(CALL)
    so_far = answer.whole()
    answer.add(CALL)
    assert len(so_far["tool_calls"]) == 1


def test_a_stop_string_is_the_readers() -> None:
    answer = Answer(reader(stop=["END"]))
    assert answer.add("a EN") == {"text": "a"}
    assert answer.stopped_by is None
    assert answer.add("D b") == {"text": " "}
    assert answer.stopped_by == "END"

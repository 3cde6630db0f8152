"""Which whitespace belongs to the text."""

from __future__ import annotations

import pytest

from rkllmd.chat.answers.events import Event, Text
from rkllmd.chat.answers.prose import Prose


def written(pieces: list[str | None], *, before_calls: bool) -> str:
    """Return the text of these pieces; None stands for a call or for reasoning."""
    events: list[Event] = []
    prose = Prose(events.append, before_calls=before_calls)
    for piece in pieces:
        if piece is None:
            prose.mark()
        else:
            prose.write(piece)
    prose.end()
    return "".join(event.text for event in events if isinstance(event, Text))


@pytest.mark.parametrize("before_calls", [True, False])
@pytest.mark.parametrize("text", ["", " ", "a", " a ", "\n\na\n b\n\n"])
def test_nothing_is_lost_of_an_answer_without_marks(text: str, before_calls: bool) -> None:
    assert written([text], before_calls=before_calls) == text
    assert written([*text], before_calls=before_calls) == text


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["a\n", None], "a"),
        (["a", "\n", "\n", None, "\n"], "a"),
        ([None, "\n", "\n a\n"], "a\n"),
        ([" ", None, " ", None, " a"], "a"),
        (["a ", None, " b "], "a  b "),
        ([" \n", None, "\n"], ""),
    ],
)
def test_whitespace_around_calls_is_none(pieces: list[str | None], text: str) -> None:
    assert written(pieces, before_calls=True) == text


def test_whitespace_after_reasoning_is_none_where_no_call_can_come() -> None:
    assert written([None, "\n", "\n a ", " "], before_calls=False) == "a  "


def test_text_waits_for_nothing_where_no_call_can_come() -> None:
    events: list[Event] = []
    prose = Prose(events.append, before_calls=False)
    prose.write("a ")
    assert events == [Text("a ")]


def test_only_whitespace_waits_where_a_call_can_come() -> None:
    events: list[Event] = []
    prose = Prose(events.append, before_calls=True)
    prose.write("a \n")
    assert events == [Text("a")]
    prose.write("b")
    assert events == [Text("a"), Text(" \nb")]

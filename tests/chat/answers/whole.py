"""Answers read in one piece, in all ways of cutting them in two, and character by character."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rkllmd.chat.answers.dialect import DIALECTS, Dialect
from rkllmd.chat.answers.events import (
    CallArguments,
    CallBegan,
    CallDropped,
    CallEnded,
    Event,
    Reasoning,
    Stopped,
    Text,
)
from rkllmd.chat.answers.reading import AnswerReader
from rkllmd.json_types import JsonObject


def tool(name: str, **properties: JsonObject) -> JsonObject:
    """Return a tool as clients declare it."""
    return {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": properties}},
    }


TOOLS = [
    tool("get_weather", city={"type": "string"}, days={"type": "integer"}),
    tool("set_light", on={"type": "boolean"}, level={"type": "number"}, scene={"type": "object"}),
    tool("search", query={"type": "string"}),
]


@dataclass
class Whole:
    """What an answer is, all events together."""

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, JsonObject]] = field(default_factory=list)
    stopped_by: str | None = None


def gathered(events: Iterable[Event]) -> Whole:
    """Return what the events are together, which have to fit each other."""
    whole = Whole()
    begun: dict[int, tuple[str, str]] = {}
    arguments: dict[int, str] = {}
    for event in events:
        assert whole.stopped_by is None, "nothing follows a stop string"
        match event:
            case Text(text):
                assert text
                whole.text += text
            case Reasoning(text):
                assert text
                whole.reasoning += text
            case CallBegan(index, id, name):
                assert index not in arguments
                assert index == len(arguments)
                assert not begun, "one after the other"
                begun[index], arguments[index] = (id, name), ""
            case CallArguments(index, text):
                assert text
                assert index in begun
                arguments[index] += text
            case CallEnded(index, id, name, values, text):
                assert begun.pop(index) == (id, name)
                assert text == arguments[index]
                whole.calls.append((name, values))
            case CallDropped(index):
                begun.pop(index)
            case Stopped(string):
                whole.stopped_by = string
    assert not begun, "each call ends"
    return whole


def read(dialect: str | Dialect, pieces: Iterable[str], **options: Any) -> Whole:
    """Return what an answer is that comes in these pieces."""
    chosen = DIALECTS[dialect] if isinstance(dialect, str) else dialect
    reader = AnswerReader(chosen, **{"tools": TOOLS, **options})
    events = [event for piece in pieces for event in reader.feed(piece)]
    events += reader.finish()
    assert reader.finish() == [], "it has ended"
    return gathered(events)


def read_in_all_ways(dialect: str | Dialect, text: str, **options: Any) -> Whole:
    """Return what an answer is, having seen that it is the same however it is cut in two, and in single characters."""
    whole = read(dialect, [text], **options)
    for at in range(len(text) + 1):
        assert read(dialect, [text[:at], text[at:]], **options) == whole, f"cut at {at}"
    assert read(dialect, text, **options) == whole, "cut everywhere"
    return whole


def paris(**more: Any) -> tuple[str, JsonObject]:
    """Return the call that most transcripts have."""
    return "get_weather", {"city": "Paris", **more}

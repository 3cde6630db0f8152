"""An answer that a reader takes apart (``chat/answers``), as members of partial results and of the final one.

A call of a tool has the form in which ``messages`` take it back: ``id``, ``type`` and ``function``. Without I/O.
"""

from __future__ import annotations

from collections.abc import Iterable

from rkllmd.chat.answers.events import CallArguments, CallBegan, CallDropped, CallEnded, Event, Reasoning, Text
from rkllmd.chat.answers.reading import AnswerReader
from rkllmd.json_types import JsonObject


class Answer:
    """What a reader has found so far."""

    __slots__ = ("_reader", "_reasoning", "calls", "passes", "pieces")

    def __init__(self, reader: AnswerReader) -> None:
        """Begin with a reader that has read nothing."""
        self._reader = reader
        # Whether no more has to be done with the next characters than to add them to the pieces of the text.
        self.passes = reader.passes
        self.pieces: list[str] = []
        self._reasoning: list[str] = []
        self.calls: list[JsonObject] = []  # those that are whole

    @property
    def stopped_by(self) -> str | None:
        """Return the stop string that was found."""
        return self._reader.stopped_by

    def add(self, text: str) -> JsonObject:
        """Take the next characters, and return the members of a partial result that show what they are."""
        if text and self.passes(text):
            self.pieces.append(text)
            return {"text": text}
        return self._members(self._reader.feed(text))

    def end(self, text: str) -> JsonObject:
        """Take the last characters, and return members as ``add`` does, also for what was held back."""
        return self._members([*self._reader.feed(text), *self._reader.finish()])

    def whole(self) -> JsonObject:
        """Return the members for all that has come; may be called on any thread."""
        members: JsonObject = {"text": "".join(self.pieces)}
        if self._reasoning:
            members["reasoning"] = "".join(self._reasoning)
        if self.calls:
            members["tool_calls"] = self.calls[:]
        return members

    def _members(self, events: Iterable[Event]) -> JsonObject:
        text, reasoning = "", ""
        calls: dict[int, JsonObject] = {}
        for event in events:
            match event:
                case Text(piece):
                    text += piece
                case Reasoning(piece):
                    reasoning += piece
                case CallBegan() | CallArguments() | CallEnded() | CallDropped():
                    self._note(calls.setdefault(event.index, {"index": event.index}), event)
        members: JsonObject = {"text": text}
        if text:
            self.pieces.append(text)
        if reasoning:
            self._reasoning.append(reasoning)
            members["reasoning"] = reasoning
        if calls:
            members["tool_calls"] = [*calls.values()]
        return members

    def _note(self, shown: JsonObject, event: CallBegan | CallArguments | CallEnded | CallDropped) -> None:
        """Add to what a partial result shows of a call."""
        match event:
            case CallBegan(_, id, name):
                shown |= {"id": id, "type": "function", "function": {"name": name}}
            case CallArguments(_, piece):
                shown["arguments_text"] = shown.get("arguments_text", "") + piece
            case CallEnded(_, id, name, arguments, whole):
                function = {"name": name, "arguments": arguments}
                shown["function"] = function
                self.calls.append({"id": id, "type": "function", "function": function, "arguments_text": whole})
            case CallDropped():
                shown["dropped"] = True

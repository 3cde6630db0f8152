"""One answer while its calls are read, and one call: what is text of it, and what begins, comes and ends as a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from rkllmd.chat.answers.events import CallArguments, CallBegan, CallDropped, CallEnded, Event, Reading
from rkllmd.chat.answers.prose import Prose
from rkllmd.chat.answers.source import Source
from rkllmd.chat.answers.stop import StopMatcher, marks
from rkllmd.chat.answers.syntax.json_text import dump, parse_object
from rkllmd.json_types import JsonObject

# A tool's name is a line at most; what is longer is none.
MAX_NAME: Final = 256


class Answer:
    """What the forms of tool calls read from, and where they put what they find."""

    def __init__(
        self,
        source: Source,
        prose: Prose,
        emit: Callable[[Event], None],
        tools: Mapping[str, JsonObject],
        new_id: Callable[[], str],
    ) -> None:
        """``tools`` are the schemas of the tools' parameters by their names."""
        self.source = source
        self.prose = prose
        self.emit = emit
        self.tools = tools
        self.new_id = new_id
        self.begun = 0  # how many calls have begun

    def text_until(self, *strings: str) -> Reading[str | None]:
        """Pass text on up to one of these marks, and return it: with it an attempt begins. None: the text has ended."""
        matcher = StopMatcher(marks(strings))
        while True:
            self.prose.write(matcher.feed(self.source.take_all()))
            if self.source.has_ended:
                self.prose.write(matcher.end())
            if matcher.found is not None:
                self.source.put_back(matcher.rest)
                self.source.attempt(matcher.found)
                return matcher.found
            if self.source.has_ended:
                return None
            yield

    def raw_until(self, *strings: str) -> Reading[str | None]:
        """Read up to one of these marks, and the mark; return what stands before it, or None if the text ends."""
        matcher = StopMatcher(marks(strings))
        parts: list[str] = []
        while True:
            parts.append(matcher.feed(self.source.take_all()))
            if self.source.has_ended:
                parts.append(matcher.end())
            if matcher.found is not None or self.source.has_ended:
                self.source.put_back(matcher.rest)
                text = "".join(parts)
                self.source.note(text + (matcher.found or ""))
                return None if matcher.found is None else text
            yield

    def rest(self) -> Reading[None]:
        """Read all that follows as text."""
        self.prose.is_rest = True
        while True:
            self.prose.write(self.source.take_all())
            if self.source.has_ended:
                return
            yield

    def close(self, *strings: str) -> Reading[None]:
        """Read what closes calls, and whitespace before it, if it comes; models leave it out."""
        yield from self.source.skip_space()
        if (yield from self.source.literal(*strings)):
            self.settle()
        else:
            self.fail()

    def settle(self) -> None:
        """Keep what was read since the attempt began: it was a call, or what stands around calls."""
        self.source.attempt()
        self.prose.mark()

    def fail(self) -> None:
        """Take what was read since the attempt began, or since the last call of it, for text."""
        self.prose.write(self.source.attempted())

    def tool(self, name: str) -> str:
        """Return the name of the tool that a model means by ``name``: some put a module before it."""
        last = name.rpartition(".")[2]
        return last if name not in self.tools and last in self.tools else name


class Call:
    """One call, from the first that is known of it."""

    def __init__(self, answer: Answer) -> None:
        """Begin with nothing known."""
        self.name: str | None = None
        self._answer = answer
        self._index: int | None = None
        self._id = ""
        self._is_argued = False  # its arguments came in pieces
        self._waiting: list[str] = []  # pieces of the arguments that came before the name

    def argue(self, piece: str) -> None:
        """Take the next piece of the arguments' JSON text, of an object."""
        self._is_argued = True
        self._waiting.append(piece)
        if self.name is not None:
            self.begin()

    def begin(self) -> None:
        """Tell that the call has begun, and what is known of its arguments."""
        assert self.name is not None, "a call begins with its name"
        emit, waiting = self._answer.emit, "".join(self._waiting)
        if self._index is None:
            self._index, self._id = self._answer.begun, self._answer.new_id()
            self._answer.begun += 1
            emit(CallBegan(self._index, self._id, self.name))
        if waiting:
            emit(CallArguments(self._index, waiting))
        self._waiting = []

    def end(self, text: str) -> bool:
        """End the call, whose arguments are this JSON text, and return whether it is one; if not, it is dropped."""
        try:
            if not self.name:
                raise ValueError("no name")
            arguments = parse_object(text)
            text = dump(arguments) if text.startswith('"') else text
        except ValueError:
            self.drop()
            return False
        self._end(arguments, text)
        return True

    def end_with(self, arguments: JsonObject) -> None:
        """End a call whose arguments the model did not write as JSON."""
        self._end(arguments, dump(arguments))

    def _end(self, arguments: JsonObject, text: str) -> None:
        if not self._is_argued:
            self._waiting = [text]
        self.begin()
        assert self.name is not None
        assert self._index is not None
        self._answer.emit(CallEnded(self._index, self._id, self.name, arguments, text))
        self._answer.settle()

    def drop(self) -> None:
        """Tell, if it had begun, that it is none after all."""
        if self._index is not None:
            self._answer.emit(CallDropped(self._index))

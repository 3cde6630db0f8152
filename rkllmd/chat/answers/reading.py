"""Reads an answer as it comes: up to a stop string, then reasoning, then text and tool calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from rkllmd.chat.answers.dialect import Dialect
from rkllmd.chat.answers.ends import TurnEnd
from rkllmd.chat.answers.events import Event, Reading, Stopped
from rkllmd.chat.answers.prose import Prose
from rkllmd.chat.answers.reasoning import reasoning
from rkllmd.chat.answers.source import Source
from rkllmd.chat.answers.stop import StopMatcher
from rkllmd.chat.answers.syntax.coercion import parameters_by_tool
from rkllmd.chat.answers.tool_calls.call import Answer
from rkllmd.json_types import JsonObject

# What is read at a time: what a mark leaves unread is copied, so a long text full of marks comes in parts.
_AT_ONCE: Final = 2048


class AnswerReader:
    """Takes the text of one answer in pieces, and says what is in it; how it was cut makes no difference."""

    def __init__(
        self,
        dialect: Dialect,
        *,
        stop: Sequence[str] = (),
        tools: Iterable[JsonObject] = (),
        is_open: bool = False,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        """Begin with nothing.

        ``tools`` are those that the model was told of; without any, nothing is a call. ``is_open``: the prompt has
        opened the reasoning (``Dialect.opens_reasoning``). ``new_id`` gives the ids of calls.
        """
        self.stopped_by: str | None = None
        self._events: list[Event] = []
        # Whether text is all that can come before one of ``_starts``, with which ends and stop strings begin.
        self._is_plain = False
        self._stop = StopMatcher(stop) if stop else None
        self._end = TurnEnd(dialect.ends) if dialect.ends else None
        self._looking = [looking for looking in (self._stop, self._end) if looking is not None]
        self._starts = frozenset(start for looking in self._looking for start in looking.starts)
        self._source = Source()
        parameters = parameters_by_tool(tools)
        self._prose = Prose(self._events.append, before_calls=bool(parameters))
        answer = Answer(self._source, self._prose, self._events.append, parameters, new_id or dialect.new_id)
        self._reading = _answer(answer, dialect, is_open=is_open)
        next(self._reading)  # up to where it needs text

    @property
    def may_stop(self) -> bool:
        """Return whether it looks for stop strings."""
        return self._stop is not None

    def passes(self, text: str) -> bool:
        """Return whether ``feed`` would say no more of this piece than that it is text, and would change nothing."""
        return self._is_plain and self._starts.isdisjoint(text)

    def feed(self, text: str) -> list[Event]:
        """Take the next piece of the answer, and return what it shows."""
        if self.stopped_by is not None:
            return []
        if self._stop is not None:
            text = self._stop.feed(text)
        self._read(text if self._end is None else self._end.feed(text))
        if self._stop is not None and self._stop.found is not None:
            self._finish()
        return self._take_events()

    def finish(self) -> list[Event]:
        """Return what was held back: the answer has ended."""
        if self.stopped_by is None and not self._source.has_ended:
            if self._stop is not None:
                text = self._stop.end()
                self._read(text if self._end is None else self._end.feed(text))
            self._finish()
        return self._take_events()

    def _finish(self) -> None:
        if self._end is not None:
            self._read(self._end.end())
        self._source.has_ended = True
        next(self._reading, None)
        self._prose.end()
        if self._stop is not None and self._stop.found is not None:
            self.stopped_by = self._stop.found
            self._events.append(Stopped(self.stopped_by))

    def _read(self, text: str) -> None:
        for at in range(0, len(text), _AT_ONCE):
            self._source.feed(text[at : at + _AT_ONCE])
            next(self._reading)

    def _take_events(self) -> list[Event]:
        self._is_plain = (
            self._prose.is_plain and not self._source.has_ended and all(looking.is_clear for looking in self._looking)
        )
        events = self._events[:]
        self._events.clear()
        return events


def _answer(answer: Answer, dialect: Dialect, *, is_open: bool) -> Reading[None]:
    yield from reasoning(answer.source, answer.prose, answer.emit, dialect.reasoning, is_open=is_open)
    yield from dialect.calls(answer) if answer.tools or dialect.has_channels else answer.rest()

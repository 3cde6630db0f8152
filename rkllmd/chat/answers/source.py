"""The text of an answer for those who read it: it comes in pieces, and a reader waits where more is needed.

A reader is a generator: it yields when it has read all that is there, and goes on when more has come or the text has
ended. So each form of a tool call is written down in the order in which it stands in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from rkllmd.chat.answers.events import Reading

_WORD: Final = re.compile(r"\S")


class Source:
    """What has come and is not read yet, and what an attempt has read since it began."""

    __slots__ = ("_at", "_attempt", "_text", "has_ended")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.has_ended = False
        self._text, self._at = "", 0
        self._attempt: list[str] = []

    def feed(self, text: str) -> None:
        """Append the next piece."""
        self._text, self._at = self._text[self._at :] + text, 0

    # -- an attempt: what was read since it began is given back as text if it comes to nothing -----------------------

    def attempt(self, read: str = "") -> None:
        """Begin an attempt, to which ``read`` belongs already."""
        self._attempt = [read]

    def attempted(self) -> str:
        """Return all that was read since the attempt began, and end it."""
        read, self._attempt = "".join(self._attempt), []
        return read

    # -- reading -----------------------------------------------------------------------------------------------------

    def take(self, length: int) -> str:
        """Read this many of the characters that are there."""
        piece = self._text[self._at : self._at + length]
        self._at += length
        self._attempt.append(piece)
        return piece

    def note(self, read: str) -> None:
        """Let the attempt have what was read by ``take_all``."""
        self._attempt.append(read)

    def take_all(self) -> str:
        """Read what is there, as no part of an attempt."""
        piece, self._text, self._at = self._text[self._at :], "", 0
        return piece

    def put_back(self, text: str) -> None:
        """Let the end of what ``take_all`` gave be read again."""
        self._text, self._at = text + self._text[self._at :], 0

    def peek(self) -> Reading[str]:
        """Return the next character, which stays unread, or nothing at the end."""
        while self._at >= len(self._text) and not self.has_ended:
            yield
        return self._text[self._at : self._at + 1]

    def scan(self, scanner: Callable[[str, int], int]) -> Reading[str]:
        """Read what ``scanner(text, at)`` says of what is there: up to where; return it, or nothing at the end."""
        yield from self.peek()
        return self.take(scanner(self._text, self._at) - self._at)

    def skip_space(self) -> Reading[str]:
        """Read whitespace, and return the character after it, which stays unread, or nothing at the end."""
        while True:
            following = yield from self.peek()
            if not following.isspace():
                return following
            yield from self.scan(_after_space)

    def literal(self, *options: str) -> Reading[str]:
        """Read one of these if it is what comes next, the longest that fits; return it, or nothing."""
        while True:
            here = self._text[self._at : self._at + max(map(len, options))]
            if self.has_ended or not any(option.startswith(here) and option != here for option in options):
                break
            yield
        found = max((option for option in options if here.startswith(option)), key=len, default="")
        if found:
            self.take(len(found))
        return found

    def word(self, ends: str, most: int) -> Reading[str | None]:
        """Read up to one of the characters ``ends``, which stays unread; None if none comes within ``most``."""
        parts: list[str] = []
        length = 0
        while True:
            following = yield from self.peek()
            if following and following in ends:
                return "".join(parts)
            if not following or length >= most:
                return None
            parts.append(self.take(1))
            length += 1


def _after_space(text: str, at: int) -> int:
    found = _WORD.search(text, at)
    return found.start() if found else len(text)

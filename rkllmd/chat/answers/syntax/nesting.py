"""Where a JSON value ends, or a pair of brackets in Python: found as the text comes, each character looked at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from rkllmd.chat.answers.events import Reading
from rkllmd.chat.answers.source import Source

# Deeper values are no arguments of a call: what parses them, and what writes them to the client, goes down as deep.
MAX_DEPTH: Final = 100

_OUTSIDE: Final = re.compile(r"[\"'\[\]{}()]")
_INSIDE: Final = {quote: re.compile(rf"[\\{quote}]") for quote in "\"'"}
_CLOSING: Final = {"{": "}", "[": "]", "(": ")"}


class Nesting:
    """Follows quotes and brackets from the first character of a value to its last."""

    __slots__ = ("_is_escaped", "_open", "_quote", "_quotes", "is_hopeless", "is_over")

    def __init__(self, quotes: str = '"') -> None:
        """``quotes`` are the characters that strings stand between."""
        self.is_over = False
        self.is_hopeless = False  # brackets that do not match, or too many of them
        self._quotes = quotes
        self._open: list[str] = []  # what closes each bracket that is open
        self._quote = ""
        self._is_escaped = False

    def feed(self, text: str, at: int) -> int:
        """Look at ``text`` from ``at`` on, and return up to where it belongs to the value."""
        while at < len(text) and not self.is_over and not self.is_hopeless:
            at = self._inside(text, at) if self._quote else self._outside(text, at)
        return at

    def _inside(self, text: str, at: int) -> int:
        if self._is_escaped:
            self._is_escaped = False
            return at + 1
        found = _INSIDE[self._quote].search(text, at)
        if found is None:
            return len(text)
        if found[0] == "\\":
            self._is_escaped = True
        else:
            self._quote = ""
            self.is_over = not self._open
        return found.end()

    def _outside(self, text: str, at: int) -> int:
        found = _OUTSIDE.search(text, at)
        if found is None:
            return len(text)
        char = found[0]
        if char in _CLOSING:
            self._open.append(_CLOSING[char])
            self.is_hopeless = len(self._open) > MAX_DEPTH
        elif char in "\"'":
            self._quote = char if char in self._quotes else ""
        elif self._open and self._open[-1] == char:
            self._open.pop()
            self.is_over = not self._open
        else:
            self.is_hopeless = True
        return found.end()


def balanced(source: Source, quotes: str = '"', on_piece: Callable[[str], None] | None = None) -> Reading[str | None]:
    """Read what the next character, a quote or an opening bracket, opens, to where it closes; None if it does not.

    ``on_piece`` is told each piece as it comes.
    """
    nesting = Nesting(quotes)
    parts: list[str] = []
    while not nesting.is_over:
        piece = yield from source.scan(nesting.feed)
        if not piece or nesting.is_hopeless:
            return None
        parts.append(piece)
        if on_piece is not None:
            on_piece(piece)
    return "".join(parts)

"""What of a model's text is legal, piece by piece, for a runtime that can't be told before: the rest is never shown.

Without I/O. After an illegal piece nothing more is taken until somebody has put other words in its place.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Final

from rkllmd.language.guided.judge import Judge

_LEADING: Final = b" \t\r\n"


class LegalText:
    """The text of one answer, of the model's words and of those that were put in their place."""

    def __init__(self, judge: Judge) -> None:
        """Begin an answer."""
        self.judge = judge
        # What the answer may begin with instead, after which all is legal.
        self.openings: Sequence[bytes] = ()
        self._is_free = False
        self._beginning = b""  # what may still become one of them
        # The model's legal pieces since words were put in last, each with the number of its tokens.
        self.pieces: list[tuple[bytes, int]] = []
        # Of the piece that was refused: what of it was legal, the rest, and of how many tokens it was.
        self.legal_part = b""
        self.refused: bytes | None = None
        self.refused_tokens = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._silent = 0
        self._has_begun = False

    @property
    def needs_words(self) -> bool:
        """Return whether the model can't go on from here: its last piece was refused, or nothing can follow."""
        return self.refused is not None or self.judge.is_complete

    @property
    def is_in_character(self) -> bool:
        """Return whether the text ends within a character."""
        return bool(self._decoder.getstate()[0])

    def feed(self, text: str) -> str:
        """Take what one token has added, maybe nothing, and return what of it is legal."""
        tokens, self._silent = self._silent + 1, 0
        data = text.encode()
        if not self._has_begun:
            data = data.lstrip(_LEADING)
        if not data:
            self._silent = tokens
            return ""
        if self.needs_words:
            return ""
        if not self._has_begun and self.openings:
            data, self._beginning = self._beginning + data, b""
            self._is_free = data.startswith(tuple(self.openings))
            if not self._is_free and any(opening.startswith(data) for opening in self.openings):
                self._beginning, self._silent = data, tokens
                return ""
        if self._is_free:
            self._has_begun = True
            return self._decoder.decode(data)
        taken = self.judge.accept(data)
        self._has_begun = self._has_begun or taken > 0
        if taken == len(data):
            self.pieces.append((data, tokens))
        else:
            self.legal_part, self.refused, self.refused_tokens = data[:taken], data[taken:], tokens
        return self._decoder.decode(data[:taken])

    def put(self, words: bytes) -> str:
        """Go on with words that are not the model's; return what of them is to be shown. They must be legal."""
        taken = self.judge.accept(words)
        assert taken == len(words), "they came from the judge"
        self._has_begun = self._has_begun or bool(words)
        return self._decoder.decode(words)

    def go_on(self) -> None:
        """Take the model's text again, after words were put in."""
        self.pieces.clear()
        self.legal_part, self.refused, self.refused_tokens, self._silent = b"", None, 0, 0

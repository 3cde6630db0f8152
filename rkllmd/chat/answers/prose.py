"""What of an answer is text: whitespace that only stands around reasoning and tool calls is none."""

from __future__ import annotations

from collections.abc import Callable

from rkllmd.chat.answers.events import Event, Text


class Prose:
    """Passes text on, and holds whitespace back that may turn out to stand before a call."""

    __slots__ = ("_after_mark", "_emit", "_has_begun", "_holds_space", "_space", "is_rest")

    def __init__(self, emit: Callable[[Event], None], *, before_calls: bool) -> None:
        """``before_calls``: calls may come, so that whitespace at the end waits for what follows."""
        # Whether all that follows is text, whatever stands in it.
        self.is_rest = False
        self._emit = emit
        self._holds_space = before_calls
        self._has_begun = False
        self._after_mark = False  # nothing but whitespace has come since reasoning or a call
        self._space: list[str] = []

    @property
    def is_plain(self) -> bool:
        """Return whether all that follows is passed on as it is."""
        return self.is_rest and not (self._holds_space or self._after_mark)

    def write(self, text: str) -> None:
        """Take the next piece of what is text."""
        if not text:
            return
        if not self._holds_space and not self._after_mark:
            self._has_begun = True
            self._emit(Text(text))
            return
        written = text.rstrip() if self._holds_space else text
        words = written.lstrip() if self._after_mark and not self._has_begun else written
        if not words.strip():
            self._space.append(text)
            return
        before = "" if self._after_mark and not self._has_begun else "".join(self._space)
        self._space = [text[len(written) :]]
        self._after_mark, self._has_begun = False, True
        self._emit(Text(before + words))

    def mark(self) -> None:
        """Know that reasoning or a call has ended here."""
        self._after_mark = True

    def end(self) -> None:
        """End the text: whitespace that was held back belongs to it, unless reasoning or a call stands before it."""
        space = "".join(self._space)
        self._space = []
        if space and not self._after_mark:
            self._emit(Text(space))

"""The mark that ends a turn (``<|im_end|>``), which a runtime may show as text: it is no part of the answer.

Only at the very end: a model that writes about the mark goes on after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rkllmd.chat.answers.stop import StopMatcher, marks

# Known of published templates. One that can be HTML as well (``</s>``) is not among them.
KNOWN: Final = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
    "<turn|>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
)


class TurnEnd:
    """Passes text on, and holds back a mark until something other than whitespace follows."""

    __slots__ = ("_held", "_marks", "_matcher")

    def __init__(self, ends: tuple[str, ...]) -> None:
        """Begin at the beginning; ``ends`` are the marks, at least one."""
        self._marks = marks(ends)
        self._matcher = StopMatcher(self._marks)
        self._held: list[str] = []

    @property
    def starts(self) -> Iterable[str]:
        """Return the characters with which a mark begins."""
        return self._matcher.starts

    @property
    def is_clear(self) -> bool:
        """Return whether ``feed`` would return a piece without any of ``starts`` as it is, and change nothing."""
        return not self._held and self._matcher.is_clear

    def feed(self, text: str) -> str:
        """Take the next piece and return what is certainly before the end."""
        shown: list[str] = []
        while True:
            self._pass(self._matcher.feed(text), shown)
            if self._matcher.found is None:
                return "".join(shown)
            self._held.append(self._matcher.found)
            text = self._matcher.rest
            self._matcher = StopMatcher(self._marks)

    def end(self) -> str:
        """Return what was held back and is no mark at the end."""
        shown: list[str] = []
        self._pass(self._matcher.end(), shown)
        self._held = []
        return "".join(shown)

    def _pass(self, text: str, shown: list[str]) -> None:
        if self._held and not text.strip():
            self._held.append(text)
            return
        shown += [*self._held, text]
        self._held = []

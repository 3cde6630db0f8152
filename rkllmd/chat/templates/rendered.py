"""A conversation as a model reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from rkllmd.quick_dataclass import dataclass

# Byte offsets [begin, end) into a text, as in rkllmd/portable/extension.py.
Span: TypeAlias = tuple[int, int]

# What stands for a part of a message that is no text, as the runtimes want it.
PLACEHOLDERS: Final[Mapping[str, str]] = {"image": "<image>", "video": "<video>", "audio": "<audio>"}


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as text.

    ``control_spans``: the bytes of ``text`` that are control tokens, in order. ``lead``: how many characters at its end
    ask for the answer (``add_generation_prompt``); None where that is not known.

    All control tokens are the template's own, unless those in the messages were to count: otherwise they are plain
    words. So a runtime that takes every marker in a prompt for control needs no spans.
    """

    text: str
    control_spans: tuple[Span, ...] = ()
    lead: int | None = None

    @property
    def parts(self) -> list[tuple[str, bool]]:
        """Return the text in parts: True beside those that are control tokens."""
        whole, parts, at = self.text.encode(), [], 0
        for begin, end in self.control_spans:
            parts += [(whole[at:begin].decode(), False), (whole[begin:end].decode(), True)]
            at = end
        return [part for part in (*parts, (whole[at:].decode(), False)) if part[0]]

    def without_end(self, characters: int) -> Rendered:
        """Return the text without this many characters at its end, and without the tokens that would be cut."""
        text = self.text[: len(self.text) - characters]
        size = len(text.encode())
        return Rendered(text, tuple(span for span in self.control_spans if span[1] <= size))

    def after(self, needle: str) -> Rendered | None:
        """Return what follows the last place of a text that stands outside of control tokens; None without a place."""
        place = self.text.rfind(needle)
        if place < 0:
            return None
        begin = len(self.text[: place + len(needle)].encode())
        spans = tuple((start - begin, end - begin) for start, end in self.control_spans if start >= begin)
        return Rendered(self.text[place + len(needle) :], spans)

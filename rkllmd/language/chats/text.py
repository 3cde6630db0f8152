"""A text in parts, each of which says whether control markers in it are meant as such."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rkllmd.portable.extension import Span
from rkllmd.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    """Parts of a text, in order: True beside those in which control markers (``<|im_end|>``) count as such."""

    parts: tuple[tuple[str, bool], ...] = ()

    @classmethod
    def of(cls, parts: Iterable[tuple[str, bool]]) -> Text:
        """Return a text of these parts, without the empty ones."""
        return cls(tuple(part for part in parts if part[0]))

    def __add__(self, other: Text) -> Text:
        return Text(self.parts + other.parts)

    def __str__(self) -> str:
        return "".join(text for text, _ in self.parts)

    def changed(self, change: Callable[[str], str]) -> Text:
        """Return the text with each part changed."""
        return Text(tuple((change(text), is_control) for text, is_control in self.parts))

    def encode(self) -> bytes:
        """Return the text as C gets it."""
        return str(self).encode()

    @property
    def spans(self) -> tuple[Span, ...]:
        """Return where in the encoded text control markers count as such."""
        found: list[Span] = []
        at = 0
        for text, is_control in self.parts:
            end = at + len(text.encode())
            if is_control and text:
                found.append((at, end))
            at = end
        return tuple(found)

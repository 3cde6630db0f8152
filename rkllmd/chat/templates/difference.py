"""How much of a conversation is the same as what was read before, and what must still be read."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from dataclasses import dataclass

from rkllmd.chat.templates.template import Rendered, Span


@dataclass(frozen=True, slots=True)
class NewPart:
    """``kept_bytes``: so much from the beginning is the same; ``text``: what comes after that.

    ``is_whole``: all that was read before is kept, so that ``text`` only has to be appended.
    """

    kept_bytes: int
    text: str
    is_whole: bool


def new_part(held: str, wanted: Rendered) -> NewPart:
    """Return what must be read after ``held``, the text that a KV cache holds, so that it holds ``wanted``.

    Where they part, the beginning that is kept ends before the last control marker (or is empty): only there is it sure
    that the tokens of the beginning are the same, whatever follows. If all of ``held`` is kept, nothing is cut: what a
    model has generated is in the cache as tokens, and a rest that begins with a control marker makes no others of them.
    """
    if wanted.text.startswith(held):
        return NewPart(len(held.encode()), wanted.text[len(held) :], is_whole=True)
    common = len(os.path.commonprefix((held, wanted.text)))
    kept = _marker_at_or_before(wanted.control_spans, len(wanted.text[:common].encode()))
    return NewPart(kept, wanted.text.encode()[kept:].decode(), is_whole=False)


def _marker_at_or_before(spans: Sequence[Span], common: int) -> int:
    """Return where the last control marker begins that begins in the common part, or at its end; 0 if none does."""
    return max((begin for begin, _ in spans if begin <= common), default=0)

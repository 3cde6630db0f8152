"""Vocabularies for tests and the bench, as a runtime gives them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from rkllmd.abi.llguidance import CONTROL, Vocabulary

END: Final = b""
"""In the place of a text: the token ends an answer."""


def vocabulary_of(tokens: Sequence[bytes | None]) -> Vocabulary:
    """Return the vocabulary of these texts; None: a token that stands for no text, ``END``: one that ends an answer."""
    texts = [text or CONTROL + b"%d" % token for token, text in enumerate(tokens)]
    ends = tuple(token for token, text in enumerate(tokens) if text == END)
    return Vocabulary(struct.pack(f"={len(texts)}I", *map(len, texts)), b"".join(texts), ends)

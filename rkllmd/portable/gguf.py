"""Reads a model's chat template and width out of a GGUF file: pairs of keys and typed values before the weights.

Source: the GGUF specification (ggml's docs/gguf.md), version 3.
"""

from __future__ import annotations

import mmap
import struct
from typing import Final

_MAGIC: Final = b"GGUF"
_TEMPLATE: Final = "tokenizer.chat_template"
_ARCHITECTURE: Final = "general.architecture"
# Architectures whose image embeddings carry more than the first layer's, so their rows are several times as wide.
_DEEP: Final = ("qwen3vl", "qwen3vlmoe")
# The types of values by their numbers: so many bytes, a string, or an array.
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_COUNT: Final = 4
_STRING: Final = 8
_ARRAY: Final = 9


def chat_template(path: str) -> str | None:
    """Return the model's chat template; None for a file without one, or that is no GGUF. Raises OSError."""
    found = _find(path, _TEMPLATE)
    return found if isinstance(found, str) else None


def embedding_width(path: str) -> int | None:
    """Return how many numbers an embedding has that the model takes; None where that is not known. Raises OSError."""
    architecture = _find(path, _ARCHITECTURE)
    if not isinstance(architecture, str) or architecture in _DEEP:
        return None
    width = _find(path, f"{architecture}.embedding_length")
    return width if isinstance(width, int) and width > 0 else None


def _find(path: str, key: str) -> str | int | None:
    with open(path, "rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(data).find(key)
        except (ValueError, struct.error, KeyError, UnicodeDecodeError):  # an empty file, or a damaged one
            return None


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0

    def find(self, wanted: str) -> str | int | None:
        """Return the value of a key that is a string or a 32-bit count."""
        if self._take(4) != _MAGIC:
            return None
        self._number("<I")  # version
        self._number("<Q")  # tensors
        for _ in range(self._number("<Q")):
            key = self._take(self._number("<Q")).decode()
            kind = self._number("<I")
            if key == wanted and kind == _STRING:
                return self._take(self._number("<Q")).decode()
            if key == wanted and kind == _COUNT:
                return self._number("<I")
            self._skip(kind)
        return None

    def _skip(self, kind: int) -> None:
        if kind == _STRING:
            self._pass(self._number("<Q"))
        elif kind == _ARRAY:
            of, count = self._number("<I"), self._number("<Q")
            if of in _SIZES:
                self._pass(count * _SIZES[of])
                return
            for _ in range(count):
                self._skip(of)
        else:
            self._pass(_SIZES[kind])

    def _pass(self, size: int) -> None:
        self._at += size

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise ValueError("the file ends early")
        self._at += size
        return taken

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._take(struct.calcsize(form)))[0])

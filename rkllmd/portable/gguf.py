"""Reads a model's chat template and width out of a GGUF file: pairs of keys and typed values before the weights.

Source: the GGUF specification (ggml's docs/gguf.md), version 3. The file is read and not mapped: if somebody cuts it
short meanwhile, reading ends early, whereas a mapping would end the process.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, Final

_MAGIC: Final = b"GGUF"
_TEMPLATE: Final = "tokenizer.chat_template"
_ARCHITECTURE: Final = "general.architecture"
# Architectures whose image embeddings carry more than the first layer's, so their rows are several times as wide.
_DEEP: Final = ("qwen3vl", "qwen3vlmoe")
# The types of values, by their numbers. These have so many bytes; the others are strings and arrays.
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_COUNT: Final = 4
_STRING: Final = 8
_ARRAY: Final = 9


def chat_template(path: str) -> str | None:
    """Return the model's chat template; None for a file without one, or that is no GGUF. Raises OSError."""
    found = _find(path, _TEMPLATE)
    return found if isinstance(found, str) else None


def embedding_width(path: str) -> int | None:
    """Return how many numbers one of the model's embeddings has; None if that is not known. Raises OSError."""
    architecture = _find(path, _ARCHITECTURE)
    if not isinstance(architecture, str) or architecture in _DEEP:
        return None
    width = _find(path, f"{architecture}.embedding_length")
    return width if isinstance(width, int) and width > 0 else None


def _find(path: str, key: str) -> str | int | None:
    with open(path, "rb") as file:
        try:
            return _Reader(file).find(key)
        except (ValueError, struct.error, KeyError, RecursionError):  # an empty file, or a damaged one
            return None


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

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
        if size > self._size - self._file.tell():  # also of a size that no seek takes
            raise ValueError("the file ends early")
        self._file.seek(size, os.SEEK_CUR)

    def _take(self, size: int) -> bytes:
        if size > self._size - self._file.tell():  # before memory for so much is allocated
            raise ValueError("the file ends early")
        taken = self._file.read(size)
        if len(taken) != size:
            raise ValueError("the file became shorter")
        return taken

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._take(struct.calcsize(form)))[0])

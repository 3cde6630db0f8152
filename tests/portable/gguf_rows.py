"""Reads the rows of a q8_0 tensor from a GGUF file, so that a test can feed a model its own embeddings."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

_SCALARS = "BbHhIif?"  # value types 0 to 7; 8 is a string, 9 an array, 10 to 12 are 64 bits wide
_WIDE = {10: "Q", 11: "q", 12: "d"}
_BLOCK, _BLOCK_BYTES = 32, 34  # a float16 scale and 32 signed bytes
_ALIGNMENT = 32


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def take(self, code: str) -> Any:
        (value,) = struct.unpack_from(f"<{code}", self.content, self.at)
        self.at += struct.calcsize(f"<{code}")
        return value

    def text(self) -> str:
        length = self.take("Q")
        self.at += length
        return self.content[self.at - length : self.at].decode(errors="replace")

    def value(self, kind: int) -> Any:
        if kind == 8:
            return self.text()
        if kind == 9:
            inner, count = self.take("I"), self.take("Q")
            return [self.value(inner) for _ in range(count)]
        return self.take(_WIDE.get(kind) or _SCALARS[kind])


def tensor_rows(path: Path, wanted: str) -> list[list[float]]:
    """Return the tensor's rows as the engine dequantizes them."""
    reader = _Reader(path.read_bytes())
    assert reader.content[:4] == b"GGUF"
    reader.at = 8
    tensors, pairs = reader.take("Q"), reader.take("Q")
    for _ in range(pairs):
        reader.text()
        reader.value(reader.take("I"))
    found: tuple[list[int], int] | None = None
    for _ in range(tensors):
        name = reader.text()
        shape = [reader.take("Q") for _ in range(reader.take("I"))]
        kind, offset = reader.take("I"), reader.take("Q")
        if name == wanted:
            assert kind == 8, "not q8_0"
            found = (shape, offset)
    assert found, f"no tensor {wanted}"
    (width, count), offset = found
    start = -(-reader.at // _ALIGNMENT) * _ALIGNMENT + offset
    row_bytes = width // _BLOCK * _BLOCK_BYTES
    return [_row(reader.content[start + i * row_bytes : start + (i + 1) * row_bytes]) for i in range(count)]


def _row(data: bytes) -> list[float]:
    row: list[float] = []
    for begin in range(0, len(data), _BLOCK_BYTES):
        scale, *quants = struct.unpack_from("<e32b", data, begin)
        row += [scale * quant for quant in quants]
    return row

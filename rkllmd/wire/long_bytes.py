"""Megabytes that grow without being copied.

A bytearray that outgrows its place is copied by realloc, 8 MiB in 2 ms and more, with Python's lock held. An anonymous
mapping grows by moving its pages, and what is written to it is all that is touched.
"""

from __future__ import annotations

import mmap
from typing import Final

# Below this a copy takes a few microseconds.
_SMALL: Final = 1 << 16
_BLANKS_AT_ONCE: Final = 1 << 16
_FREED_AT_ONCE: Final = 1 << 20

LongBytes = bytes | mmap.mmap
"""Bytes that can be searched and cut; they are a mapping where there are many."""


class _Mapping(mmap.mmap):
    """A mapping that gives its memory back in pieces: 11 MiB at once would hold the lock for over a millisecond."""

    def __del__(self) -> None:
        for start in range(0, len(self), _FREED_AT_ONCE):
            self.madvise(mmap.MADV_DONTNEED, start, min(_FREED_AT_ONCE, len(self) - start))


def allocate(size: int) -> mmap.mmap:
    """Return this many zero bytes, none of which takes memory before it is written to."""
    return _Mapping(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


class GrowingBytes:
    """Bytes in the making."""

    def __init__(self, expected: int = 1 << 20) -> None:
        """Begin empty; ``expected`` bytes fit without moving, and cost no memory before they are there."""
        self._expected = expected
        self._small = bytearray()
        self._large: mmap.mmap | None = None
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, data: bytes) -> None:
        """Append ``data``."""
        end = self._size + len(data)
        if self._large is None and end <= _SMALL:
            self._small += data
        else:
            large = self._at_least(end)
            large[self._size : end] = data
        self._size = end

    def take(self) -> LongBytes:
        """Return what was added, and begin anew."""
        large, size = self._large, self._size
        taken: LongBytes = bytes(self._small)
        if large is not None:
            large.resize(size)
            taken = large
        self._small, self._large, self._size = bytearray(), None, 0
        return taken

    def _at_least(self, size: int) -> mmap.mmap:
        if self._large is None:
            self._large = allocate(max(size, self._expected))
            self._large[: self._size] = bytes(self._small)
            self._small.clear()
        elif len(self._large) < size:
            self._large.resize(max(size, 2 * len(self._large)))
        return self._large


def is_blank(data: LongBytes) -> bool:
    """Return whether there is nothing but white space; reads no further than the piece with the first other byte."""
    if data[:1] == b"{":  # nearly always
        return False
    pieces = (data[start : start + _BLANKS_AT_ONCE] for start in range(0, len(data), _BLANKS_AT_ONCE))
    return all(piece.isspace() for piece in pieces)

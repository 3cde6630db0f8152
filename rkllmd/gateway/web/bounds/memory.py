"""The memory that all clients together may take."""

from __future__ import annotations

from typing import Final

_MEBIBYTE: Final = 1024 * 1024
# What came, a copy while it is taken apart, and the strings of its values.
_TIMES: Final = 3
# What each value takes beside that, in CPython 3.11: a number or a member with its place, a list, an object.
_SEPARATORS: Final = ((b",", 64), (b":", 64), (b"[", 96), (b"{", 208))


class Memory:
    """An account of bytes: up to ``most`` are held at a time, and up to ``most_of_one`` by one request."""

    def __init__(self, most: int, most_of_one: int) -> None:
        """Begin with nothing held."""
        self.held = 0
        self.most_of_one = most_of_one
        self._most = most

    def take(self, size: int) -> bool:
        """Hold this much more if there is room; return whether there is."""
        if self.held + size > self._most:
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        """Hold this much less."""
        self.held -= size


# 16 MiB of text take 48; the rest is for numbers: two millions of them, in one request.
OF_ALL: Final = Memory(256 * _MEBIBYTE, 192 * _MEBIBYTE)
"""The account of this process."""


def message_cost(size: int) -> int:
    """Return how many bytes a message of ``size`` bytes takes that is handed on as it is."""
    return _TIMES * size


def json_cost(data: bytes) -> int:
    """Return how many bytes a piece of JSON takes at most, once it is parsed; commas in texts count as values do."""
    return message_cost(len(data)) + sum(each * data.count(separator) for separator, each in _SEPARATORS)

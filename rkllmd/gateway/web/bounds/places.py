"""Who has one of the places for connections, and who has to leave for somebody else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)


class FullError(Exception):
    """All places are taken by connections with a request."""


class Places(Generic[C]):
    """``most`` places in all, of which the connections of one address have up to ``most_of_one``.

    A connection without a request, or whose headers have not come yet, is idle: it leaves when another one comes.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        """Begin with nobody."""
        self._most = most
        self._most_of_one = most_of_one
        self._addresses: dict[C, str] = {}
        # Those that have been idle for longest come first.
        self._idle: dict[C, None] = {}

    def __len__(self) -> int:
        """Return how many places are taken."""
        return len(self._addresses)

    def enter(self, connection: C, address: str) -> C | None:
        """Give a place to a connection, which is idle; return whose place that is, who has to leave.

        Raises FullError.
        """
        leaving: C | None = None
        counts = Counter(self._addresses.values())
        if counts[address] >= self._most_of_one or len(self) >= self._most:
            is_own = counts[address] >= self._most_of_one
            there = [idle for idle in self._idle if not is_own or self._addresses[idle] == address]
            if not there:
                raise FullError
            # Of the address that has most.
            leaving = max(there, key=lambda idle: counts[self._addresses[idle]])
            self.leave(leaving)
        self._addresses[connection] = address
        self._idle[connection] = None
        return leaving

    def mark(self, connection: C, *, idle: bool) -> None:
        """Take notice of whether a connection has a request."""
        self._idle.pop(connection, None)
        if idle and connection in self._addresses:
            self._idle[connection] = None

    def leave(self, connection: C) -> None:
        """Free a place."""
        self._addresses.pop(connection, None)
        self._idle.pop(connection, None)

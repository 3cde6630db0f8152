"""What clients have not taken yet of their answers, and who is given up for that where it becomes too much."""

from __future__ import annotations

from collections import Counter
from typing import Final

import trio

_MEBIBYTE: Final = 1024 * 1024
# Four answers as long as a request may be. An answer of any length is sent while it is the only one.
_MOST: Final = 64 * _MEBIBYTE


class Unread:
    """Up to ``most`` bytes that wait for their clients, in cancel scopes around what sends them."""

    def __init__(self, most: int = _MOST) -> None:
        """Begin with nothing."""
        self.total = 0
        self._most = most
        # Those that have waited for longest come first.
        self._waiting: dict[trio.CancelScope, tuple[str, int]] = {}

    def hold(self, scope: trio.CancelScope, address: str, size: int) -> None:
        """Count what waits for a client; where it is too much, give up those who have waited for longest.

        Of them, first those of the address for which most waits: somebody who reads slowly has not to leave for many
        connections that do not read.
        """
        self._waiting[scope] = (address, size)
        self.total += size
        while self.total > self._most and len(self._waiting) > 1:
            sizes = Counter[str]()
            for waiting_address, waiting_size in self._waiting.values():
                sizes[waiting_address] += waiting_size
            [(most_address, _)] = sizes.most_common(1)
            leaving = next(item for item, (address, _) in self._waiting.items() if address == most_address)
            self.let_go(leaving)
            leaving.cancel()

    def take(self, scope: trio.CancelScope, size: int) -> None:
        """Count this much less for a client, which has taken it."""
        if scope in self._waiting:
            address, left = self._waiting[scope]
            self._waiting[scope] = (address, left - size)
            self.total -= size

    def let_go(self, scope: trio.CancelScope) -> None:
        """Count nothing for a client any more."""
        _, left = self._waiting.pop(scope, ("", 0))
        self.total -= left

    def give_up(self) -> None:
        """Give up whoever waits."""
        for scope in self._waiting:
            scope.cancel()

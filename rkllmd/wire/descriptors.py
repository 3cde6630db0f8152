"""File descriptors that belong to somebody: they are closed exactly once, by whoever owns the object last.

Learnt from jeepney's ``fds.py``: a bare number is closed twice, or never, as soon as it has passed through two hands.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from rkllmd.wire import closing


class Descriptors:
    """The file descriptors of one message, or those that wait for theirs.

    To read a number is to borrow it: it stays valid until ``close``. Where work goes on after its call was answered,
    the descriptors are lent to it (``lend``): they are closed only when it has given them back.
    """

    __slots__ = ("_is_closing", "_is_lent", "_numbers")

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        """Own ``numbers`` from now on."""
        self._numbers = [*numbers]
        self._is_lent = False
        self._is_closing = False

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> int:
        return self._numbers[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def add(self, number: int) -> None:
        """Own one more."""
        self._numbers.append(number)

    def take(self, count: int) -> Descriptors:
        """Give up the first ``count``, and return the object that owns them from now on."""
        taken = Descriptors(self._numbers[:count])
        del self._numbers[:count]
        return taken

    def lend(self) -> None:
        """Keep them open until they are given back, whatever happens."""
        self._is_lent = True

    def give_back(self) -> None:
        """End the lending; close them now if ``close`` was called meanwhile."""
        self._is_lent = False
        if self._is_closing:
            self.close()

    def close(self) -> None:
        """Close them, now or when they are given back; there are none afterwards."""
        if self._is_lent:
            self._is_closing = True
            return
        numbers, self._numbers = self._numbers, []
        for number in numbers:
            closing.close(number)

    def shared_bytes(self) -> int:
        """Return how many bytes of memory or of files they stand for."""
        return sum(os.fstat(number).st_size for number in self._numbers)


class _None(Descriptors):
    """The descriptors of a message that brings none."""

    __slots__ = ()

    def add(self, number: int) -> None:
        raise AssertionError("NO_DESCRIPTORS is shared, and owns nothing")

    def lend(self) -> None:
        """Lend nothing."""

    def close(self) -> None:
        """Close nothing."""


NO_DESCRIPTORS = _None()
"""What most messages bring."""

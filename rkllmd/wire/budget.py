"""How much memory the clients' requests and unread answers take: in all, and of each user. It decides, without I/O.

Nobody waits for room: a line or an answer for which there is none is refused. So lines that are coming, which nobody
can make end, can't keep each other waiting for ever, and whoever holds most has the least chance to get more.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

from rkllmd.errors import FrameTooLarge, QueueFull
from rkllmd.quick_dataclass import dataclass

# Of all, this much is for one user, and this much is left for operators alone.
_PART_OF_USER: Final = 2
_PART_RESERVED: Final = 8
_RETRY_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much memory may be held, and by how many values a line may be parsed into."""

    most_bytes: int
    most_values: int


class Budget:
    """What all users hold. For any thread."""

    def __init__(self, bounds: Callable[[], Bounds], is_operator: Callable[[int | None], bool]) -> None:
        """``bounds`` returns what holds at the moment."""
        self.held_bytes = 0
        self._bounds = bounds
        self._is_operator = is_operator
        self._of_users: Counter[int | None] = Counter()
        self._lock = threading.Lock()

    @property
    def bounds(self) -> Bounds:
        """Return what holds at the moment."""
        return self._bounds()

    def held_by(self, user: int | None) -> int:
        """Return how many bytes a user holds."""
        return self._of_users[user]

    def change(self, user: int | None, before: int, after: int, *, always: bool) -> None:
        """Let a user hold ``after`` bytes in the place of ``before``. Raises QueueFull or FrameTooLarge.

        ``always``: whether or not there is room.
        """
        by = after - before
        with self._lock:
            if by > 0 and not always:
                self._check(user, by, after)
            self.held_bytes += by
            self._of_users[user] += by
            if not self._of_users[user]:
                del self._of_users[user]

    def _check(self, user: int | None, by: int, whole: int) -> None:
        most = self.bounds.most_bytes
        of_user = most // _PART_OF_USER
        if whole > of_user:
            raise FrameTooLarge(
                f"The request takes {whole} bytes of memory, and one user's may take {of_user} (request_memory_bytes): "
                "send a tensor as base64 or by file descriptor.",
                limit=of_user,
            )
        held = self._of_users[user]
        if held + by > of_user:
            raise _full(" of this user", held, of_user)
        of_all = most if self._is_operator(user) else most - most // _PART_RESERVED
        if self.held_bytes + by > of_all:
            raise _full("", self.held_bytes, of_all)


class Holding:
    """A part of what a user holds: one line, the calls of one line, or the unread answers of one connection."""

    __slots__ = ("_budget", "_shares", "_user", "size")

    def __init__(self, budget: Budget, user: int | None) -> None:
        """Hold nothing yet."""
        self.size = 0
        self._budget = budget
        self._user = user
        self._shares = 1

    @property
    def is_alone(self) -> bool:
        """Return whether the user holds nothing else."""
        return self._budget.held_by(self._user) == self.size

    def change(self, size: int, *, always: bool = False) -> None:
        """Hold this many bytes from now on. Raises QueueFull or FrameTooLarge if there is no room for more of them."""
        if size != self.size:
            self._budget.change(self._user, self.size, size, always=always)
            self.size = size

    def share(self) -> Holding:
        """Return this, for one more who releases it."""
        self._shares += 1
        return self

    def release(self) -> None:
        """Hold nothing any more, if nobody else shares this."""
        self._shares -= 1
        if not self._shares:
            self.change(0)


def _full(whose: str, held: int, limit: int) -> QueueFull:
    return QueueFull(
        f"The requests and unread answers{whose} take {held} bytes of memory, and may take {limit} "
        "(request_memory_bytes): wait for answers, or try again later.",
        queued=held,
        limit=limit,
        retry_after_ms=_RETRY_MS,
    )

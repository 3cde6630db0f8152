"""Who has connected and is not served yet: users take turns, so that nobody waits behind another user's thousands.

The kernel hands out connections in their order. So all that have come are taken from it, which costs little, and wait
here: serving one costs a hundred times that. Decides without I/O.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final, Generic, TypeVar

C = TypeVar("C")

# Of one user, where it may not have more connections than that anyway: a program that opens a hundred at once finds
# room.
LEAST_ROOM: Final = 256
# Of all users, this many times what one may have: each has a descriptor. Those that come then wait in the kernel.
_USERS: Final = 4
_CROWD: Final = 128


class Lobby(Generic[C]):
    """The clients by their users, each user's in their order."""

    def __init__(self, most_connections: int = 0) -> None:
        """``most_connections``: how many clients may be connected, so that as many of one user may wait as well."""
        self.most_of_user = max(LEAST_ROOM, most_connections)
        self._waiting: OrderedDict[int, deque[C]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return self._count

    @property
    def is_full(self) -> bool:
        """Return whether no more are to be taken now."""
        return self._count >= _USERS * self.most_of_user

    @property
    def is_crowded(self) -> bool:
        """Return whether a user has more waiting than a program that means well."""
        return self._count > _CROWD and max(map(len, self._waiting.values())) > _CROWD

    def has_room(self, user: int) -> bool:
        """Return whether another client of this user may wait."""
        return len(self._waiting.get(user, ())) < self.most_of_user

    def add(self, user: int, client: C) -> None:
        """Let a client wait."""
        self._waiting.setdefault(user, deque()).append(client)
        self._count += 1

    def next(self) -> C:
        """Return the client that has its turn, which waits no longer; one must wait."""
        user, waiting = self._waiting.popitem(last=False)
        client = waiting.popleft()
        self._count -= 1
        if waiting:
            self._waiting[user] = waiting
        return client

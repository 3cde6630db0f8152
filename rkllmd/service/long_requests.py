"""Long requests are parsed and prepared one at a time, whoever sends them; users take turns.

To parse one takes several times its memory, and holds Python's lock for up to a tenth of a second.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class LongRequests:
    """One at a time; of each user, one at a time waits for that, so that many of one user do not delay the others."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._all = trio.Lock()
        self._of_users: weakref.WeakValueDictionary[int | None, trio.Lock] = weakref.WeakValueDictionary()

    @asynccontextmanager
    async def take(self, user: int | None) -> AsyncIterator[None]:
        """Wait for the user's turn, which lasts until the end of the context."""
        own = self._of_users.setdefault(user, trio.Lock())
        async with own, self._all:
            yield

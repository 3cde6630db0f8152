"""Which events are too many of a kind: a client that can make the daemon log must not be able to fill the disk.

Plain decisions; all times are the monotonic clock's, in seconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from typing import Final

from rkllmd.quick_dataclass import dataclass

# In each window this many events of a kind are logged for one client, the others counted: 90 MB a day at most, where
# ten seconds would be half a gigabyte.
WINDOW_SECONDS: Final = 60.0
MOST_IN_WINDOW: Final = 200
# Kinds with a window of their own. More than that share one, so that a client can't make the table grow.
_MOST_KINDS: Final = 1024
_OTHERS: Final = "others"


# Of what C prints each line counts, since it may say why C crashes a moment later. A load prints a hundred lines, a
# debug level of RKNN thousands. But a client can have a runtime say the same for each call, hundreds of times a second
# (10 GB a day were seen): this much is logged, again after an hour of silence, beyond that as much as of other kinds.
_PRINTED_BYTES: Final = 2**22
_PRINTED_BYTES_PER_SECOND: Final = 1024


class Allowance:
    """How many bytes of C's lines are logged, whatever is in them: some megabytes at once, and few for ever."""

    def __init__(self) -> None:
        self._left: float = _PRINTED_BYTES
        self._at = 0.0

    def admit(self, size: int, now: float) -> bool:
        """Take a line of this size from it; return whether there was enough left."""
        self._left = min(_PRINTED_BYTES, self._left + (now - self._at) * _PRINTED_BYTES_PER_SECOND)
        self._at = now
        if size > self._left:
            return False
        self._left -= size
        return True


@dataclass(slots=True)
class _Window:
    ends_at: float
    seen: int = 0


class Repetition:
    """Counts events by their kind."""

    def __init__(self, *, seconds: float = WINDOW_SECONDS, most: int = MOST_IN_WINDOW) -> None:
        self._seconds = seconds
        self._most = most
        # In the order in which they end: they are equally long.
        self._windows: dict[Hashable, _Window] = {}
        # How many were not logged since the start.
        self.left_out = 0

    def admit(self, kind: Hashable, now: float) -> bool:
        """Count an event; return whether it is to be logged."""
        if kind not in self._windows and len(self._windows) >= _MOST_KINDS:
            kind = _OTHERS
        window = self._windows.setdefault(kind, _Window(now + self._seconds))
        window.seen += 1
        if window.seen <= self._most:
            return True
        self.left_out += 1
        return False

    def ended(self, now: float) -> list[tuple[Hashable, int]]:
        """End the windows whose time is over; return the kinds of which some were not logged, and how many."""
        over = list(itertools.takewhile(lambda kind: self._windows[kind].ends_at <= now, self._windows))
        counts = [(kind, self._windows.pop(kind).seen - self._most) for kind in over]
        return [(kind, count) for kind, count in counts if count > 0]

"""What this process is doing, written where it outlives the process (``rkllmd/keeper/journal.py``)."""

from __future__ import annotations

import mmap

from rkllmd.keeper import journal


class CrashJournal:
    """The journal of this process; without a keeper in memory of its own, where nobody reads it."""

    def __init__(self, descriptor: int = -1) -> None:
        """Map the keeper's ``descriptor``, or nobody's memory."""
        self._memory = mmap.mmap(descriptor, journal.SIZE)
        self._beats = 0

    def beat(self) -> None:
        """Note that the event loop turns; called once a second."""
        self._beats += 1
        journal.NUMBER.pack_into(self._memory, journal.BEATS, self._beats)

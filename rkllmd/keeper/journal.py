"""The crash journal: memory that the keeper makes for each daemon, and that outlives it; where what is in it.

A daemon maps it and writes there what it is doing (``machine/crash_journal.py``). When it has crashed, the keeper adds
how that was, and what was not read yet of what C had printed; the next daemon reads it.
"""

from __future__ import annotations

import os
import struct

# How often the event loop has turned.
BEATS = 0
SIZE = 4096

# Of all numbers in it.
NUMBER = struct.Struct("<Q")


def make() -> int:
    """Return a new journal, all zeros. Raises OSError."""
    journal = os.memfd_create("rkllmd-journal", os.MFD_CLOEXEC)
    os.ftruncate(journal, SIZE)
    return journal


def beats(journal: int) -> int:
    """Return how often the event loop has turned."""
    return int(NUMBER.unpack(os.pread(journal, 8, BEATS))[0])

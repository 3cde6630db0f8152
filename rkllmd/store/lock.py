"""One daemon at a time has a directory: it holds a lock on it, which the kernel lets go of however the process ends."""

from __future__ import annotations

import fcntl
import time
from typing import Final

LOCK_SECONDS: Final = 2.0
"""A daemon that was killed may take this long to be gone: the driver gives the NPU's memory back before."""
_LOOK_SECONDS: Final = 0.02


def lock(descriptor: int, seconds: float) -> bool:
    """Lock an open directory, waiting this long at most; return whether nobody else has it. Raises OSError."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        else:
            return True

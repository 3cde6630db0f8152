"""Whether a file descriptor is open."""

from __future__ import annotations

import os


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:  # EBADF
        return False
    return True

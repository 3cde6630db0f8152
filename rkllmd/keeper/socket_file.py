"""The file of a listening socket, and the lock beside it: whether they are still ours, and how they go.

Whoever binds the socket (``net/listening/listener.py``) removes them, unless it has a keeper: then the keeper leaves
last.
"""

from __future__ import annotations

import contextlib
import os

# Clients that connect in one burst wait here; the kernel caps it at net.core.somaxconn.
BACKLOG = 4096


def inode_of(status: os.stat_result) -> tuple[int, int]:
    """Return what tells a file from every other that there is."""
    return status.st_dev, status.st_ino


def is_at(path: str, inode: tuple[int, int]) -> bool:
    """Return whether this very file is at the path."""
    try:
        return inode_of(os.stat(path)) == inode
    except OSError:
        return False


def remove(path: str, inode: tuple[int, int]) -> None:
    """Remove the file at the path if it is still this one."""
    if is_at(path, inode):
        with contextlib.suppress(OSError):
            os.unlink(path)


def unlock(path: str, lock: int) -> None:
    """Remove the lock while it is held, so that another user's daemon can have the path, and let it go."""
    remove(f"{path}.lock", inode_of(os.fstat(lock)))
    os.close(lock)


def describe(path: str, inode: tuple[int, int]) -> str:
    """Return the path and the inode as one text."""
    return f"{inode[0]}:{inode[1]}:{path}"


def parse(place: str) -> tuple[str, tuple[int, int]]:
    """Return what ``describe`` was given."""
    device, number, path = place.split(":", 2)
    return path, (int(device), int(number))

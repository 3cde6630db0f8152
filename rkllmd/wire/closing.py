"""Closes what clients have opened, without waiting for what that does.

Closing may take as long as a client likes: a connection of TCP with SO_LINGER waits until its other end has read all
(socket(7)), a file of FUSE or NFS until its server has answered. The kernel does the same to descriptors that nobody
has received yet, with the Unix socket over which they were sent. On the event loop that would hold up everybody, until
the keeper ends the daemon. So a thread does it, which may be held up for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket as stdlib_socket
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Final

# fcntl(2), a number that Python 3.11 does not name.
_F_GET_SEALS: Final = 1034


class _Closer:
    """A thread, which begins with the first that it is given."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._beginning = threading.Lock()
        self._has_begun = False

    def put(self, close: Callable[[], None]) -> None:
        """Have ``close`` called; raises nothing."""
        self._waiting.put(close)
        with self._beginning, contextlib.suppress(RuntimeError):  # no more threads: the next one tries again
            if not self._has_begun:
                threading.Thread(target=self._run, name="closer", daemon=True).start()
                self._has_begun = True

    def _run(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                self._waiting.get()()


_CLOSER: Final = _Closer()


def close(number: int) -> None:
    """Close a descriptor that may have come from a client; one of shared memory at once."""
    if is_memory(number):
        os.close(number)
    else:
        _CLOSER.put(partial(os.close, number))


def is_memory(number: int) -> bool:
    """Return whether a descriptor is of a memfd, or of a file in memory: these alone have seals.

    The kernel answers by itself, whatever it is.
    """
    try:
        fcntl.fcntl(number, _F_GET_SEALS)
    except OSError:
        return False
    return True


def close_socket(socket: stdlib_socket.socket) -> None:
    """Close a connection to a client; at once unless it has sent something that was not received."""
    with contextlib.suppress(OSError):
        socket.shutdown(stdlib_socket.SHUT_RD)  # it sends no more from here on
    try:
        has_unread = bool(socket.recv(1, stdlib_socket.MSG_PEEK | stdlib_socket.MSG_DONTWAIT))
    except OSError:
        has_unread = False
    if has_unread:
        _CLOSER.put(socket.close)
    else:
        socket.close()

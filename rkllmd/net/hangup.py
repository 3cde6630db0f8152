"""Tells when a half-closed client is wholly gone.

After end of file a socket is always readable, so trio can't be asked to wait for more. An epoll set of its own, with
no events asked for, reports just EPOLLHUP and EPOLLERR (epoll_ctl(2)), and is itself readable when it has one to
report: no polling, and a run is aborted the moment its client goes, also during prefill when nothing is written.
"""

from __future__ import annotations

import contextlib
import select
import socket as stdlib_socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

# More than there can be connections (config/settings.py).
_MOST_EVENTS: Final = 16_384


class Attendance:
    """Counts the clients that have gone and of which the daemon has not taken leave yet.

    They are not to keep anybody out: who sends something and leaves may be gone before it was read. As above, with no
    events asked for, the kernel reports just hang-ups; a socket that is closed leaves the set by itself.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def add(self, socket: stdlib_socket.socket) -> None:
        """Count the client of this socket from now on."""
        with contextlib.suppress(OSError):  # as many as the user may watch: it counts as present
            self._epoll.register(socket.fileno(), 0)

    def gone(self) -> int:
        """Return how many have gone."""
        return len(self._epoll.poll(0, _MOST_EVENTS))


class HangupWatcher:
    """Watches half-closed sockets for all connections."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}

    @contextmanager
    def watch(self, socket: stdlib_socket.socket, hung_up: Callable[[], None]) -> Iterator[None]:
        """Call ``hung_up`` once if the peer of ``socket`` closes entirely while the context is open."""
        number = socket.fileno()
        self._epoll.register(number, select.EPOLLONESHOT)
        self._callbacks[number] = hung_up
        try:
            yield
        finally:
            del self._callbacks[number]
            self._epoll.unregister(number)

    async def run(self) -> None:
        """Deliver hang-ups until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for number, _ in self._epoll.poll(0):
                if number in self._callbacks:
                    self._callbacks[number]()

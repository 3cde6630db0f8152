"""Notices when a half-closed client is wholly gone.

After end of file a socket is always readable, so trio can't wait for more. A separate epoll set, which asks for no
events, reports only EPOLLHUP and EPOLLERR (epoll_ctl(2)), and is itself readable when it has something to report. So
nothing is polled, and a run is aborted the moment its client goes, also during prefill, when nothing is written.
"""

from __future__ import annotations

import contextlib
import select
import socket as stdlib_socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

# More than there can be connections (config/groups/clients.py).
_MOST_EVENTS: Final = 16_384


class Attendance:
    """Knows the clients that have hung up but are still connected on the daemon's side.

    They must not keep others out: a client that sends something and leaves may be gone before the daemon has read it.
    As above, the epoll set asks for no events, so the kernel reports only hang-ups; a closed socket leaves the set by
    itself.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def add(self, socket: stdlib_socket.socket) -> None:
        """Count the client of this socket from now on."""
        with contextlib.suppress(OSError):  # the user's limit of watches is reached: the client counts as present
            self._epoll.register(socket.fileno(), 0)

    def gone(self) -> set[int]:
        """Return the descriptors of those that have gone."""
        return {number for number, _ in self._epoll.poll(0, _MOST_EVENTS)}


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

"""Tells when a half-closed client is wholly gone.

After end of file a socket is always readable, so trio can't be asked to wait for more. An epoll set of its own, with
no events asked for, reports just EPOLLHUP and EPOLLERR (epoll_ctl(2)), and is itself readable when it has one to
report: no polling, and a run is aborted the moment its client goes, also during prefill when nothing is written.
"""

from __future__ import annotations

import select
import socket as stdlib_socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio


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

"""Sockets that a test binds, passes on and connects to."""

from __future__ import annotations

import os
import socket as stdlib_socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from rkllmd.net.listening import listener
from rkllmd.net.listening.accepting import accept
from rkllmd.net.listening.listener import Listener, ListenError, bind


@contextmanager
def bound(path: str) -> Iterator[Listener]:
    listening = bind(path)
    try:
        yield listening
    finally:
        listening.close()


def refused(path: str) -> str:
    with pytest.raises(ListenError) as caught:
        bind(path)
    return str(caught.value)


def connects(path: str) -> bool:
    with stdlib_socket.socket(stdlib_socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


def pass_on(monkeypatch: pytest.MonkeyPatch, descriptor: int) -> None:
    """Pass a socket on as the service manager does, by another descriptor than 3, which belongs to pytest here."""
    monkeypatch.setattr(listener, "_FIRST_INHERITED", descriptor)
    os.set_inheritable(descriptor, True)  # as it is after exec


def variables(count: str = "1", pid: str | None = None) -> dict[str, str]:
    own = str(os.getpid()) if pid is None else pid
    return {"LISTEN_PID": own, "LISTEN_FDS": count, "LISTEN_FDNAMES": "rkllmd.socket"}


def listening_at(path: str) -> int:
    socket = stdlib_socket.socket(stdlib_socket.AF_UNIX)
    socket.bind(path)
    socket.listen()
    return socket.detach()


class Accepting:
    """``accept`` in a task, and what it has accepted."""

    def __init__(self, listening: Listener, nursery: trio.Nursery) -> None:
        self.sockets: list[stdlib_socket.socket] = []
        self._accepted = trio.Event()
        nursery.start_soon(accept, listening, self._serve)

    def _serve(self, socket: stdlib_socket.socket) -> None:
        self.sockets.append(socket)
        self._accepted.set()

    async def accepted(self, count: int) -> None:
        """Wait until this many were accepted."""
        while len(self.sockets) < count:
            await self._accepted.wait()
            self._accepted = trio.Event()


def connect(path: str) -> stdlib_socket.socket:
    client = stdlib_socket.socket(stdlib_socket.AF_UNIX)
    client.connect(path)
    return client

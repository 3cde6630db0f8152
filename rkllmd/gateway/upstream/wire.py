"""Bytes to and from the daemon: a socket without tasks of its own, so that a message costs one turn of the loop."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import Final, Self

import trio

from rkllmd.client import ConnectError, default_socket, peer
from rkllmd.client.errors import connect_error

RECEIVE_BYTES: Final = 65_536
# Where too many wait to be accepted: how often it is tried again, and for how long.
_PAUSE_SECONDS: Final = 0.01
_CONNECT_SECONDS: Final = 2.0


class Wire:
    """A connection, for tasks that send and one that receives.

    ``is_unread``: it has ended, and the daemon had not read all that was sent. ``is_cut``: the gateway has ended it.
    ``ended``: set when it is cut or closed here.
    """

    def __init__(self, connected: socket.socket) -> None:
        """Take the socket over."""
        connected.setblocking(False)
        self.is_unread = self.is_cut = False
        self.socket = connected
        self._sending = trio.Lock()
        self.ended = trio.Event()

    @classmethod
    async def connect(cls, path: str | None, requirepeer: str | None) -> Self:
        """Connect to whom it should be, as ``Client`` has it. Raises ConnectError."""
        path = path or default_socket()
        deadline = trio.current_time() + _CONNECT_SECONDS
        while True:
            try:
                return cls(_connected(path, requirepeer))
            except ConnectError as error:
                if error.errno != errno.EAGAIN or trio.current_time() > deadline:
                    raise
            await trio.sleep(_PAUSE_SECONDS)

    async def send(self, data: bytes) -> None:
        """Send all of it, behind what another task is sending. Raises OSError."""
        try:
            self._sending.acquire_nowait()
        except trio.WouldBlock:
            await self._sending.acquire()
        view = memoryview(data)
        try:
            while view:
                try:
                    view = view[self.socket.send(view) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self.socket)
        finally:
            self._sending.release()

    async def receive(self) -> bytes:
        """Return what comes next, nothing at the end."""
        await trio.lowlevel.wait_readable(self.socket)
        try:
            return self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return await self.receive()
        except ConnectionResetError:
            # Linux says so of a Unix socket that is closed with something in it, by whoever had it or with its process.
            self.is_unread = True
            return b""
        except OSError:
            return b""

    @property
    def is_quiet(self) -> bool:
        """Return whether the daemon has neither said anything nor gone."""
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def end(self) -> None:
        """Send no more: the daemon closes the connection when it has answered."""
        self.socket.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Let nothing come any more, whoever waits for it."""
        self.is_cut = True
        with suppress(OSError):  # it has ended already
            self.socket.shutdown(socket.SHUT_RDWR)
        self.ended.set()

    def close(self) -> None:
        """Hang up: what runs is cancelled."""
        self.socket.close()
        self.ended.set()


def _connected(path: str, requirepeer: str | None) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX)
    try:
        connected.setblocking(False)
        connected.connect(path)
        peer.check(connected, path, requirepeer)
    except ConnectError:
        connected.close()
        raise
    except OSError as error:
        connected.close()
        raise connect_error(error, path) from None
    return connected

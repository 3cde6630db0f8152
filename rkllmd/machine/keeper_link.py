"""What ties this process to its keeper (``rkllmd/keeper/``): words both ways, and what is handed over."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, MutableMapping
from typing import Final

import trio

from rkllmd.keeper import socket_file, ties
from rkllmd.keeper.ties import Ties
from rkllmd.machine import lifetime

_WORD_BYTES: Final = 64
# The keeper does nothing that takes long; without it this process has no business to serve.
_ANSWER_SECONDS: Final = 60.0


class KeeperLink:
    """The keeper, as the daemon sees it."""

    def __init__(self, tied: Ties) -> None:
        self.ties = tied
        self._control = socket.socket(fileno=tied.control)
        self._control.setblocking(False)

    @property
    def pid(self) -> int:
        """Return the keeper's process, which is the one that a person sees and stops."""
        return int(self.ties.keeper)

    @property
    def is_alive(self) -> bool:
        """Return whether it is there still."""
        return os.getppid() == self.ties.keeper

    def listening(self) -> tuple[socket.socket, str, int, tuple[int, int]] | None:
        """Return the socket that an earlier daemon has bound, its path, its lock and its inode; None: there is none."""
        if not self.ties.place:
            return None
        path, inode = socket_file.parse(self.ties.place)
        return socket.socket(fileno=self.ties.socket), path, self.ties.lock, inode

    def send(self, message: bytes) -> None:
        """Tell the keeper something, or through it the service manager; one that has gone is told nothing."""
        with contextlib.suppress(OSError):
            self._control.send(message)

    def tell(self, name: str, value: str = "1") -> None:
        """Tell the keeper alone (``rkllmd/keeper/ties.py`` has the names)."""
        self.send(f"{name}={value}".encode(errors="surrogateescape"))

    @property
    def reports(self) -> int:
        """Return the descriptor with the reports of crashes (``rkllmd/keeper/report.py``), -1 for none."""
        return int(self.ties.reports)

    def hand_over(self, listening: socket.socket, lock: int, path: str, inode: tuple[int, int]) -> None:
        """Give the keeper a socket that listens, so that it outlives this process."""
        message = f"{ties.SOCKET}={socket_file.describe(path, inode)}".encode(errors="surrogateescape")
        with contextlib.suppress(OSError):
            socket.send_fds(self._control, [message], [listening.fileno(), lock])

    def wait_until_it_listens(self) -> None:
        """Return when the keeper has taken the socket: only then the kernel says whom to stop. Before ``words``."""
        self._control.settimeout(_ANSWER_SECONDS)
        while self._control.recv(_WORD_BYTES) not in (ties.LISTENING, b""):
            pass
        self._control.setblocking(False)

    async def words(self) -> AsyncIterator[bytes]:
        """Give each word of the keeper, until it has gone: then the kernel sends a signal (``die_with_parent``)."""
        while True:
            await trio.lowlevel.wait_readable(self._control)
            try:
                word = self._control.recv(_WORD_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                return
            if not word:
                return
            yield word


def find(environ: MutableMapping[str, str]) -> KeeperLink | None:
    """Return this process's keeper, or None; if that has died already, the process ends. To be called first of all."""
    tied = ties.take(environ)
    if tied is None:
        return None
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as file:
        file.write("rkllmd")
    lifetime.end_with_parent()
    if os.getppid() != tied.keeper:
        sys.exit(1)
    return KeeperLink(tied)

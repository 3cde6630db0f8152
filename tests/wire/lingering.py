"""A connection that is closed only when its other end has read all, or has waited for ten minutes (SO_LINGER)."""

from __future__ import annotations

import os
import socket
import struct
import threading
from contextlib import suppress
from typing import Any, Self

_SECONDS = 600
# Longer than closing takes where somebody else still has the descriptor.
_CLOSING_SECONDS = 1


def let_go(number: int) -> None:
    """Close a near end that was sent; where nobody has it any more, a thread does it, which the far end holds up."""
    closing = threading.Thread(target=os.close, args=(number,), daemon=True)
    closing.start()
    closing.join(_CLOSING_SECONDS)


class Lingering:
    """Both ends; nothing is read at the far one until ``take_all``."""

    def __init__(self) -> None:
        with socket.socket() as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            self._near = socket.create_connection(listening.getsockname())
            self._far, _ = listening.accept()
        self._near.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self._near.send(b"x" * 65536)
        self._near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, _SECONDS))

    def give(self) -> int:
        """Return the descriptor of the near end, which the caller owns from now on."""
        return self._near.detach()

    def take_all(self) -> None:
        """Read until the near end is closed."""
        self._far.settimeout(60)
        while self._far.recv(1 << 20):
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        # Where a test has failed, somebody may still wait for it: a reset wakes them.
        self._far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._far.close()
        self._near.close()

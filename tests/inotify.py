"""Waiting for a file to change, without polling: inotify(7), which Python has no module for."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
from pathlib import Path
from typing import Self

_IN_MODIFY, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x2, 0x80, 0x100, 0x200
_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Watches the files in a directory from its making on."""

    def __init__(self, directory: Path) -> None:
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        events = _IN_MODIFY | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE
        if self._descriptor < 0 or _libc.inotify_add_watch(self._descriptor, os.fsencode(directory), events) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def wait(self, seconds: float) -> None:
        """Wait until something has changed since the last call, for at most this long."""
        select.select([self._descriptor], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 65_536)

"""How far a model is on its way into memory: what the process has read since the load began."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rkllmd.json_types import JsonObject

_IO: Final = Path("/proc/self/io")


def bytes_read() -> int | None:
    """Return how many bytes this process has read so far; None if the kernel does not count them.

    In proc_pid_io(5), ``rchar`` counts what read(2) gave, also from the page cache, and ``read_bytes`` what came from a
    disk, also into a mapped file. Neither counts a mapped file that the page cache has already.
    """
    try:
        lines = dict(line.split(": ") for line in _IO.read_text().splitlines())
        return max(int(lines["rchar"]), int(lines["read_bytes"]))
    except (OSError, ValueError, KeyError):
        return None


class Load:
    """How far the load of one model is."""

    def __init__(self, path: str, read: Callable[[], int | None] = bytes_read) -> None:
        """``path``: the model's file; empty for a model that came over the socket."""
        self._read = read
        self._size: int | None = None
        if path:
            with contextlib.suppress(OSError):
                self._size = os.stat(path).st_size
        self._before: int | None = None
        self._fraction: float | None = None

    def begin(self) -> None:
        """Note what was read before; called on the worker thread, just before the load."""
        self._before = self._read()

    def to_json(self, elapsed_ms: float, expected_ms: float | None) -> JsonObject:
        """Return the progress after ``elapsed_ms``; ``expected_ms`` is how long a load of this model takes, if known.

        ``fraction`` is that of the expected time if there is one, since reading is only a part of a load; otherwise it
        is that of the bytes. It is 1 at most and never falls; null if neither is known.
        """
        now = None if self._before is None else self._read()
        read = None if now is None or self._before is None else max(0, now - self._before)
        if read is not None and self._size is not None:
            read = min(read, self._size)  # the process reads a little beside the model
        fraction = self._fraction
        if expected_ms:
            fraction = elapsed_ms / expected_ms
        elif read and self._size:
            fraction = read / self._size
        if fraction is not None:
            self._fraction = min(1.0, max(fraction, self._fraction or 0.0))
        return {
            "phase": "load",
            "bytes_read": read,
            "bytes": self._size,
            "fraction": None if self._fraction is None else round(self._fraction, 4),
            "expected_ms": None if expected_ms is None else round(expected_ms, 1),
        }

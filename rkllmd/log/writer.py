"""Writes lines to a descriptor without ever waiting for its reader.

A line goes out at once where the kernel takes it without waiting, so that what was logged before a crash is there after
it. Where the reader has stopped (a pipe, the journal's socket, a terminal with Ctrl-S), a thread waits in its place,
behind a bounded number of bytes; what exceeds them is counted and dropped.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from rkllmd.keeper import words

# Some thousands of lines: what a daemon says in an hour, and no more than a board can spare.
_WAITING_BYTES: Final = 2**20


class LogWriter:
    """Writes whole lines; from any thread."""

    def __init__(
        self, descriptor: int, on_dropped: Callable[[int], None], *, waiting_bytes: int = _WAITING_BYTES
    ) -> None:
        """``on_dropped`` is told how many lines were dropped, when lines flow again; on the writing thread."""
        self._descriptor = descriptor
        self._waiting_bytes = waiting_bytes
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._is_writing = False
        self._changed = threading.Condition()
        # A terminal says that it is writable and then waits for the room for a whole line.
        self._is_terminal = os.isatty(descriptor)
        self._is_file = _is_file(descriptor)
        # How many lines were dropped since the start, and how many of them were reported.
        self.dropped = 0
        self._told = 0
        self._on_dropped = on_dropped

    def write(self, line: bytes) -> None:
        """Write a line, or have it written, or drop it."""
        with self._changed:
            if not self._is_writing:
                rest = self._write_at_once(line)
                if not rest:
                    return
                self._is_writing = True
                self._keep(rest)
                threading.Thread(target=self._write_waiting, name="log", daemon=True).start()
            elif self._bytes + len(line) > self._waiting_bytes:
                self.dropped += 1
            else:
                self._keep(line)

    def flush(self, seconds: float) -> bool:
        """Wait until everything is written, ``seconds`` at most; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._is_writing, seconds)

    def _keep(self, line: bytes) -> None:
        self._lines.append(line)
        self._bytes += len(line)
        self._changed.notify_all()

    def _write_at_once(self, line: bytes) -> bytes:
        """Write what is taken without waiting; return the rest."""
        if self._is_terminal:
            return line
        if self._is_file:
            _write(self._descriptor, line)
            return b""
        return words.write(self._descriptor, line)

    def _write_waiting(self) -> None:
        """Write what waits, until nothing does; on a thread of its own, which may be kept."""
        while True:
            with self._changed:
                line = self._lines.popleft() if self._lines else None
                untold = 0 if line is not None else self.dropped - self._told
                self._told += untold
                if line is None and not untold:
                    self._is_writing = False
                    self._changed.notify_all()
                    return
            if line is None:
                self._on_dropped(untold)
                continue
            _write(self._descriptor, line)
            with self._changed:
                self._bytes -= len(line)


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:  # closed: writing to it is no error either
        return True


def _write(descriptor: int, data: bytes) -> None:
    """Write all of it, however long that takes; a full disk or a closed journal must not take the daemon down."""
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        pass

"""Writes lines to a descriptor without ever waiting for its reader.

A line goes out at once where the kernel takes it without waiting, so that what was logged before a crash is there after
it. Where the reader has stopped (a pipe, the journal's socket, a terminal with Ctrl-S), a thread waits in its place,
behind a bounded number of bytes; what exceeds them is counted and dropped.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

# What a pipe or a socket takes without blocking once it says that it is writable (pipe(7): PIPE_BUF).
_PIECE_BYTES: Final = 4096
# Some thousands of lines: what a daemon says in an hour, and no more than a board can spare.
_WAITING_BYTES: Final = 2**20


class LogWriter:
    """Writes whole lines; from any thread."""

    def __init__(self, descriptor: int, *, waiting_bytes: int = _WAITING_BYTES) -> None:
        self._descriptor = descriptor
        self._waiting_bytes = waiting_bytes
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._is_writing = False
        self._changed = threading.Condition()
        # A terminal says that it is writable and then waits for the room for a whole line.
        self._is_terminal = os.isatty(descriptor)
        self._is_file = _is_file(descriptor)
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._dropped = 0
        self._dropped_now = 0
        # Told how many lines were dropped, when lines flow again; on the writing thread.
        self.on_dropped: Callable[[int], None] = lambda count: None

    @property
    def dropped(self) -> int:
        """Return how many lines were dropped since the start."""
        return self._dropped

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
                self._dropped += 1
                self._dropped_now += 1
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
        while line:
            try:
                ready = self._poll.poll(0)
                if not ready:
                    return line
                if not ready[0][1] & select.POLLOUT:  # nobody will ever read it
                    return b""
                line = line[os.write(self._descriptor, line[:_PIECE_BYTES]) :]
            except OSError:  # a closed journal must not take the daemon down
                return b""
        return b""

    def _write_waiting(self) -> None:
        """Write what waits, until nothing does; on a thread of its own, which may be kept."""
        while True:
            with self._changed:
                if not self._lines:
                    dropped, self._dropped_now = self._dropped_now, 0
                    if not dropped:
                        self._is_writing = False
                        self._changed.notify_all()
                        return
                    line = b""
                else:
                    dropped, line = 0, self._lines.popleft()
            if dropped:
                self.on_dropped(dropped)
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

"""What has to be sent to one client: lines in order, each with the file descriptors that go with it.

A line with descriptors is sent on its own, and they go with its first byte (SCM_RIGHTS, unix(7)); after a short send
the rest of the line goes without them.
"""

from __future__ import annotations

import array
import socket as stdlib_socket
from collections import deque
from typing import Final

from rkllmd.wire.descriptors import NO_DESCRIPTORS, Descriptors

# The most bytes and pieces for one system call (IOV_MAX is 1024): if the client reads fast enough, the kernel takes
# everything that it is given, a megabyte in 2.5 ms, while the event loop waits.
_SEND_BYTES: Final = 256 * 1024
_SEND_PIECES: Final = 512
# Joining pieces of up to this many bytes costs less than giving them to the kernel one by one.
_JOIN_BYTES: Final = 256 * 1024


class Outbox:
    """Lines that wait, and lines that are being sent: those count in ``current_bytes``, not in ``waiting_bytes``."""

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self.waiting_shared_bytes = 0
        self.current_bytes = 0
        self._longest = 0
        self._waiting: deque[bytes | tuple[list[bytes], Descriptors]] = deque()
        self._current: deque[memoryview] = deque()
        self._fds: Descriptors = NO_DESCRIPTORS

    def __bool__(self) -> bool:
        """Return whether there is anything to send."""
        return bool(self._waiting or self._current)

    @property
    def unsent_bytes(self) -> int:
        """Return how many bytes the client has not received yet."""
        return self.current_bytes + self.waiting_bytes

    def is_full(self, most: int) -> bool:
        """Return whether ``most`` bytes wait beside the longest line.

        A client may get one answer that is longer than everything that may wait, and its streams go on after that.
        """
        return self.waiting_bytes - self._longest >= most

    def add(self, line: bytes | list[bytes], fds: Descriptors = NO_DESCRIPTORS) -> None:
        """Add a line, whole or in pieces; the outbox owns the descriptors from now on and closes them."""
        if isinstance(line, bytes) and fds is NO_DESCRIPTORS:  # as most often
            self._waiting.append(line)
            self._count(len(line))
            return
        pieces = [line] if isinstance(line, bytes) else line
        self._waiting.append((pieces, fds))
        self._count(sum(map(len, pieces)))
        self.waiting_shared_bytes += fds.shared_bytes()

    def begin(self, rest: memoryview) -> None:
        """Begin with the rest of a line that was partly sent; only for an empty outbox."""
        self._current.append(rest)
        self.current_bytes = len(rest)

    def send(self, socket: stdlib_socket.socket) -> bool:
        """Send as much as one system call takes; return true if that was all of the current lines.

        Raises BlockingIOError, or OSError if the client is gone.
        """
        if not self._current:
            self._load()
        pieces: list[memoryview] = []
        left = _SEND_BYTES
        for piece in self._current:
            pieces.append(piece[:left])
            left -= len(pieces[-1])
            if not left or len(pieces) == _SEND_PIECES:
                break
        if self._fds:
            rights = [(stdlib_socket.SOL_SOCKET, stdlib_socket.SCM_RIGHTS, array.array("i", self._fds))]
            sent = socket.sendmsg(pieces, rights)
            self._close_fds()
        else:
            sent = socket.sendmsg(pieces) if len(pieces) > 1 else socket.send(pieces[0])
        self.current_bytes -= sent
        while sent:
            piece = self._current.popleft()
            if sent < len(piece):
                self._current.appendleft(piece[sent:])
                return False
            sent -= len(piece)
        return not self._current

    def clear(self) -> None:
        """Drop everything at once: megabytes and descriptors must not wait for the garbage collector."""
        self._current.clear()
        self._close_fds()
        for item in self._waiting:
            if not isinstance(item, bytes):
                item[1].close()
        self._waiting.clear()
        self.waiting_bytes = self.waiting_shared_bytes = self.current_bytes = self._longest = 0

    def _count(self, length: int) -> None:
        self.waiting_bytes += length
        if length > self._longest:
            self._longest = length

    def _load(self) -> None:
        """Make the next line current if it has descriptors, otherwise all lines before the next one that has."""
        pieces: list[bytes] = []
        while self._waiting:
            item = self._waiting[0]
            if isinstance(item, bytes):
                self._waiting.popleft()
                pieces.append(item)
                continue
            line, fds = item
            if fds and pieces:
                break
            self._waiting.popleft()
            self.waiting_shared_bytes -= fds.shared_bytes()
            pieces += filter(None, line)
            if fds:
                self._fds = fds
                break
        self.current_bytes = sum(map(len, pieces))
        self.waiting_bytes -= self.current_bytes
        if not self._waiting:
            self._longest = 0
        if len(pieces) > 1 and self.current_bytes <= _JOIN_BYTES:
            pieces = [b"".join(pieces)]
        self._current.extend(map(memoryview, pieces))

    def _close_fds(self) -> None:
        self._fds.close()
        self._fds = NO_DESCRIPTORS

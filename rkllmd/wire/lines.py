"""A byte stream cut into lines, without I/O."""

from __future__ import annotations

from typing import Final

from rkllmd.wire.long_bytes import GrowingBytes, LongBytes

# A line from a client may grow in place up to its limit. A line from the daemon has no limit: this much is expected.
_RECEIVED_AT_ONCE: Final = 1 << 16
_MOST_EXPECTED: Final = 64 << 20


class LineBuffer:
    """Cuts a byte stream into lines; a line longer than ``limit`` ends the stream."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.overflowed = False
        self._skips = False
        self._skipped = 0
        # Never holds a newline, so no byte is searched twice.
        self._pending = GrowingBytes(min(limit + _RECEIVED_AT_ONCE, _MOST_EXPECTED))

    def __len__(self) -> int:
        """Return the number of bytes held for a line that is not complete."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[LongBytes]:
        """Add ``data`` and return the lines it completes, without their newlines; blank ones are left out.

        Lines before one that is too long are returned; that line and what follows are not, and ``overflowed`` is true
        from then on, since nobody can tell safely where the next line begins.
        """
        if self.overflowed:
            return []
        if self._skips:
            data = self._behind_skipped(data)
        if not self._pending and data.find(b"\n") == len(data) - 1 <= self.limit:  # one whole line, as most often
            return [data[:-1]] if data and not data.isspace() else []
        first, newline, rest = data.partition(b"\n")
        self._pending.add(first)
        lines: list[LongBytes] = []
        if newline:
            *following, pending = rest.split(b"\n")
            lines = [self._pending.take(), *following]
            self._pending.add(pending)
        self.overflowed = len(self._pending) > self.limit
        for index, line in enumerate(lines):
            if len(line) > self.limit:
                self.overflowed = True
                del lines[index:]
                break
        if self.overflowed:
            self._pending.take()
        # Whether a long line is blank is left to ``parse``, since a client may send 16 MiB of blanks.
        return [line for line in lines if line and not (isinstance(line, bytes) and line.isspace())]

    def skip(self) -> LongBytes:
        """Return what has come of the line that is not complete; of the rest of it, nothing is kept."""
        self._skips, self._skipped = True, len(self._pending)
        return self._pending.take()

    def _behind_skipped(self, data: bytes) -> bytes:
        """Return what follows the line that is skipped."""
        rest, newline, following = data.partition(b"\n")
        self._skips = not newline
        self._skipped += len(rest)
        self.overflowed = self._skipped > self.limit
        return b"" if self.overflowed else following

    def end(self) -> list[LongBytes]:
        """Return the unterminated last line at the end of the stream, if there is one (``printf '{…}' | nc -U``)."""
        return self.feed(b"\n") if self._pending else []

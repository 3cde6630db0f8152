"""What the C libraries print: captured, logged line by line, attached to the error of the call that failed.

The vendor's libraries print instead of reporting. File descriptors 1 and 2 lead into a pipe. Two threads read it: one
when something arrives, and the worker at the end of a call, so that an error has the lines of its call. The event loop
could not do the former: it may itself be in a call that prints, or that waits for C's lock of stdout, while the pipe is
full.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog
import trio

from rkllmd.abi.c import c_void_p, this_process
from rkllmd.machine.crash_journal import CrashJournal

log = structlog.get_logger()

# An error has the last lines of its call; a runtime that prints megabytes must not fill the memory.
_LINES_KEPT: Final = 200
_LINE_LENGTH: Final = 1000
# A runtime that never stops printing must not keep a reader for ever: the thread reads one piece at a time, and the end
# of a call reads what is in the pipe and what is printed meanwhile, a megabyte at most. What is read at once has room
# in the crash journal until it is logged.
_READS_AT_ONCE: Final = 64


class Capture(NamedTuple):
    """The pipe's end that ``RuntimeOutput`` reads, and duplicates of what descriptors 1 and 2 were."""

    reader: int
    stdout: int
    stderr: int


def capture(pipe: tuple[int, int] | None = None) -> Capture:
    """Point descriptors 1 and 2 at a pipe.

    ``pipe`` is the keeper's, reader and writer: what nobody has read when this process dies is read by it.
    """
    stdout, stderr = os.dup(1), os.dup(2)
    reader, writer = pipe or os.pipe()
    os.set_blocking(reader, False)
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    os.close(writer)
    # A pipe is fully buffered by default, which would show a line long after its call (setvbuf(3), _IOLBF is 1).
    libc = this_process()
    libc.setvbuf(c_void_p.in_dll(libc, "stdout"), None, 1, 0)
    return Capture(reader, stdout, stderr)


class RuntimeOutput:
    """The captured stdout and stderr of this process."""

    def __init__(
        self,
        reader: int = -1,
        listener: Callable[[str], None] = lambda line: None,
        journal: CrashJournal | None = None,
    ) -> None:
        """``reader``: what ``capture`` has returned. ``listener`` is called with each line, on any thread.

        ``journal`` has the last lines if this process dies.
        """
        self.journal = CrashJournal() if journal is None else journal
        self._lock = threading.Lock()
        self._lines: deque[tuple[int, str]] = deque(maxlen=_LINES_KEPT)
        self._count = 0
        self._rest = b""
        self._reader = reader
        self._libc = this_process()
        self._tell = listener

    def mark(self) -> int:
        """Return the present end of the output, from which ``since`` can read what is printed later."""
        if self._reader >= 0:
            self._libc.fflush(None)
            self._read(end_line=True)
        return self._count

    def since(self, mark: int) -> list[str]:
        """Return the lines printed since ``mark``, including those that C has not flushed yet."""
        if self._reader < 0:
            return []
        self._libc.fflush(None)
        self._read(end_line=True)
        with self._lock:
            return [line for number, line in self._lines if number >= mark]

    async def watch(self) -> None:
        """Log each line when it arrives, until cancelled."""
        await trio.to_thread.run_sync(self._watch, abandon_on_cancel=True)

    def _watch(self) -> None:
        arrival = select.poll()
        arrival.register(self._reader, select.POLLIN)
        while arrival.poll() and self._read(at_most=1):
            pass

    def _read(self, *, end_line: bool = False, at_most: int = _READS_AT_ONCE) -> bool:
        """Keep what has arrived; return false at the end of the pipe, when C has closed both descriptors."""
        with self._lock:
            for _ in range(at_most):
                try:
                    data = self.journal.read(self._reader)
                except BlockingIOError:
                    break
                if not data:
                    return False
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in lines:
                    self._keep(line)
                if len(self._rest) > _LINE_LENGTH:
                    self._end_line()
                self.journal.logged(len(self._rest))
            if end_line:
                self._end_line()
        return True

    def _end_line(self) -> None:
        self._keep(self._rest)
        self._rest = b""
        self.journal.logged(0)

    def _keep(self, raw: bytes) -> None:
        line = raw[:_LINE_LENGTH].decode("utf-8", "replace").rstrip()
        if not line:
            return
        self._lines.append((self._count, line))
        self._count += 1
        log.log(_level(line), "runtime", line=line)
        self._tell(line)


def _level(line: str) -> int:
    """Return the logging level that the vendor's prefix means: ``E rkllm: …``, ``W RKNN: …``, ``I rkllm: …``."""
    return {"E ": 40, "W ": 30}.get(line[:2], 20)

"""What the keeper says of daemons that have crashed, for the next one: memory in which one report is behind the other.

A report is kept until a daemon says that it has read it: the next one may crash before that.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from signal import SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGKILL, SIGSEGV

from rkllmd.keeper import journal, kills, words
from rkllmd.keeper.spawn import Child

# The lengths of a report's parts, which follow: how it has ended as JSON, the journal, what C had printed that the
# daemon had not read, the stacks of its threads.
_LENGTHS = struct.Struct("<4I")
# In a loop of crashes, the last ones say enough.
_MOST_BYTES = 2**20
# Of stacks; and of what is printed, the end.
_PART_BYTES = 65_536
# What is printed to a pipe that nobody has read is 64 KiB at most (pipe(7)), unless somebody still prints.
_PIPE_BYTES = 2**20

# How faulthandler begins, and what it says of each signal.
_FATAL = b"Fatal Python error: "
_SIGNALS = {
    b"Segmentation fault": SIGSEGV,
    b"Aborted": SIGABRT,
    b"Floating point exception": SIGFPE,
    b"Illegal instruction": SIGILL,
    b"Bus error": SIGBUS,
}


class Rest:
    """What a daemon has left: its journal, what it had not read of C's output, the stacks of its threads."""

    __slots__ = ("journal", "printed", "stacks")

    def __init__(self, its_journal: bytes, printed: bytes, stacks: bytes) -> None:
        self.journal = its_journal
        self.printed = printed
        self.stacks = stacks


def make() -> int:
    """Return memory for reports, without any. Raises OSError."""
    return os.memfd_create("rkllmd-crashes", os.MFD_CLOEXEC)


def rest_of(child: Child) -> Rest:
    """Return what a daemon that has ended has left."""
    printed = b""
    with contextlib.suppress(BlockingIOError):
        while len(printed) < _PIPE_BYTES and (data := os.read(child.reader, _PART_BYTES)):
            printed += data
    return Rest(os.pread(child.journal, journal.SIZE, 0), printed, os.pread(child.stacks, _PART_BYTES, 0))


def unlogged(rest: Rest) -> bytes:
    """Return what is in no log yet: lines of C, and where the threads were; the last line has its end as well."""
    read, count = journal.output(rest.journal)
    parts = read[len(read) - count :] + rest.printed, rest.stacks
    return b"".join(part if part.endswith(b"\n") else part + b"\n" for part in parts if part)


def first_end(code: int, stacks: bytes) -> int:
    """Return what began the end of a process, as ``code`` has it.

    faulthandler looks at threads that run on meanwhile, and about once in a thousand times crashes over that itself.
    """
    title = stacks.removeprefix(_FATAL).partition(b"\n")[0] if stacks.startswith(_FATAL) else b""
    return -_SIGNALS.get(title, -code) if -code in _SIGNALS.values() else code


def facts_of(child: Child, code: int, crashes: int) -> dict[str, object]:
    """Return how a daemon has ended; ``code`` as os.waitstatus_to_exitcode has it, ``crashes``: with this one."""
    now = time.monotonic()
    is_killed = code == -SIGKILL and not child.is_stuck
    return {
        "at": time.time(),
        "monotonic": now,
        "pid": child.pid,
        "end": words.end_of(code),
        "signal": words.signal_name(-code) if code < 0 else None,
        "exit_status": code if code >= 0 else None,
        "stuck": child.is_stuck,
        "out_of_memory": is_killed and kills.count() > child.kills,
        "uptime_s": round(now - child.since, 3),
        "crashes": crashes,
    }


def add(reports: int, facts: dict[str, object], rest: Rest) -> None:
    """Add a report; if there are too many, the others are given up. Without memory for it there is none."""
    parts = words.quoted(facts).encode(), rest.journal, rest.printed[-_PART_BYTES:], rest.stacks
    data = _LENGTHS.pack(*map(len, parts)) + b"".join(parts)
    with contextlib.suppress(OSError):
        if os.fstat(reports).st_size + len(data) > _MOST_BYTES:
            forget(reports)
        os.pwrite(reports, data, os.fstat(reports).st_size)


def forget(reports: int) -> None:
    """Forget all reports: they were read. Raises OSError."""
    os.ftruncate(reports, 0)


def read(reports: int) -> list[tuple[bytes, Rest]]:
    """Return each report: how the daemon has ended as JSON, and what it has left. One that is torn is none."""
    data = os.pread(reports, os.fstat(reports).st_size, 0)
    found, at = [], 0
    while at + _LENGTHS.size <= len(data):
        lengths = _LENGTHS.unpack_from(data, at)
        at += _LENGTHS.size
        parts = []
        for length in lengths:
            parts.append(data[at : at + length])
            at += length
        if at > len(data):
            break
        found.append((parts[0], Rest(*parts[1:])))
    return found

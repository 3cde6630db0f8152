"""The crash journal: memory that the keeper makes for each daemon, and that outlives it; what is where in it.

A daemon maps it and writes there what it is doing (``machine/crash_journal.py``): how often its event loop has turned,
which C calls it is in, and what C has printed. The keeper looks whether it is stuck; when it has crashed, the keeper
hands all of it to the next daemon (``report.py``). Here is how it is written and read, without any I/O but for the
keeper's looks.

A record counts when the last word of its head says so, which is the last thing that is written: a torn one is none.
"""

from __future__ import annotations

import os
import struct

# Of the single numbers in it.
NUMBER = struct.Struct("<Q")
# How often the event loop has turned; how many bytes of C's output the daemon has read, and how many of them are in its
# log.
BEATS, PRINTED, LOGGED = 0, 8, 16
# A place for each C call that may run at the same time, nested ones included: those of the worker, of the event loop,
# and of threads beside them.
FIRST_RECORD, RECORD_BYTES, RECORDS = 1024, 1024, 15
# The end of C's output; as much as the daemon reads at once has room twice.
OUTPUT, OUTPUT_BYTES = 16_384, 32_768
# Where the daemon reads it to at first: how much it had read before, and the bytes, with zeros behind them.
ARRIVAL, ARRIVAL_BYTES = OUTPUT + OUTPUT_BYTES, 16_384
SIZE = ARRIVAL + NUMBER.size + ARRIVAL_BYTES

FREE, VALID = 0, 1
# What it begins with: since when (monotonic), the thread's number, whether that is the event loop's, VALID or FREE.
HEAD = struct.Struct("<dQQQ")
STATE = HEAD.size - NUMBER.size
# A handle (0: none); a process and a user (-1: none), and how many calls of clients it is for.
_HANDLE, _CLIENT = struct.Struct("<Q"), struct.Struct("<qqQ")
# Texts have their length in a byte before them. All of them fit into a record.
_MOST_BYTES = {"function": 64, "name": 64, "path": 255, "method": 64, "request": 64, "job": 32}
# Of a path, its end says more.
_CUT_IN_FRONT = ("path",)


def make() -> int:
    """Return a new journal, all zeros. Raises OSError."""
    journal = os.memfd_create("rkllmd-journal", os.MFD_CLOEXEC)
    os.ftruncate(journal, SIZE)
    return journal


# -- C calls -----------------------------------------------------------------------------------------------------------


def place(record: int) -> int:
    """Return where a record is."""
    return FIRST_RECORD + record * RECORD_BYTES


def model(handle: int, name: str, path: str) -> bytes:
    """Return the part of a record that says on what the call works: a model or context, "" and 0 for none."""
    return _HANDLE.pack(max(0, handle)) + _text("name", name) + _text("path", path)


def asked(method: str, pid: int | None, user: int | None, request: str, job: str, runs: int = 1) -> bytes:
    """Return the part of a record that says for what and whom the call is made: the first of this many ``runs``."""
    client = _CLIENT.pack(-1 if pid is None else pid, -1 if user is None else user, runs)
    return client + _text("method", method) + _text("request", request) + _text("job", job)


def body(function: str, its_model: bytes, its_asked: bytes) -> bytes:
    """Return what stands behind the head of a record."""
    return _text("function", function) + its_model + its_asked


def calls(content: bytes) -> list[dict[str, object]]:
    """Return the C calls that were running, the one that began last at the end."""
    found = [_call(content, place(number)) for number in range(RECORDS) if _is_valid(content, place(number))]
    return sorted(found, key=lambda call: float(str(call["since"])))


def _text(name: str, text: str) -> bytes:
    most = _MOST_BYTES[name]
    encoded = text.encode("utf-8", "surrogateescape")
    if len(encoded) > most:
        encoded = encoded[-most:] if name in _CUT_IN_FRONT else encoded[:most]
    return bytes((len(encoded),)) + encoded


def _is_valid(content: bytes, at: int) -> bool:
    return len(content) >= at + RECORD_BYTES and NUMBER.unpack_from(content, at + STATE)[0] == VALID


def _call(content: bytes, at: int) -> dict[str, object]:
    since, thread, on_loop, _ = HEAD.unpack_from(content, at)
    at += HEAD.size
    found: dict[str, object] = {"since": since, "thread": thread, "on_loop": bool(on_loop)}

    def take(name: str) -> None:
        nonlocal at
        end = at + 1 + content[at]
        # What was cut in the middle of a letter, or is no UTF-8.
        found[name] = content[at + 1 : end].decode("utf-8", "replace")
        at = end

    take("function")
    (found["handle"],) = _HANDLE.unpack_from(content, at)
    at += _HANDLE.size
    take("name")
    take("path")
    found["pid"], found["user"], found["runs"] = _CLIENT.unpack_from(content, at)
    at += _CLIENT.size
    for name in ("method", "request", "job"):
        take(name)
    return found


# -- what C prints -----------------------------------------------------------------------------------------------------


def pieces(printed: int, data: bytes) -> list[tuple[int, bytes]]:
    """Return what is to be written where, if ``data`` comes behind this many bytes: the end of it, in a ring."""
    printed += max(0, len(data) - OUTPUT_BYTES)
    data = data[-OUTPUT_BYTES:]
    at = printed % OUTPUT_BYTES
    room = OUTPUT_BYTES - at
    return [(OUTPUT + at, data[:room])] + ([(OUTPUT, data[room:])] if len(data) > room else [])


def output(content: bytes) -> tuple[bytes, int]:
    """Return the end of what the daemon has read of C's output, and how many bytes of that are not in its log."""
    if len(content) < SIZE:
        return b"", 0
    (printed,), (logged,) = NUMBER.unpack_from(content, PRINTED), NUMBER.unpack_from(content, LOGGED)
    ring, at = content[OUTPUT:ARRIVAL], printed % OUTPUT_BYTES
    found = ring[at:] + ring[:at] if printed > OUTPUT_BYTES else ring[:printed]
    # The process died when this had left the pipe and did not stand behind the others yet.
    has_arrived = NUMBER.unpack_from(content, ARRIVAL) == (printed,)
    arrived = content[ARRIVAL + NUMBER.size : SIZE].rstrip(b"\0") if has_arrived else b""
    found += arrived
    return found, min(max(0, printed - logged) + len(arrived), len(found))


# -- the keeper's looks ------------------------------------------------------------------------------------------------


def beats(journal: int) -> int:
    """Return how often the event loop has turned."""
    return int(NUMBER.unpack(os.pread(journal, 8, BEATS))[0])


def is_in_long_call(journal: int) -> bool:
    """Return whether the NPU is in a call of C, which may take long, and the event loop is in none."""
    content = os.pread(journal, OUTPUT, 0)
    threads = [
        bool(HEAD.unpack_from(content, place(number))[2])
        for number in range(RECORDS)
        if _is_valid(content, place(number))
    ]
    return bool(threads) and not any(threads)

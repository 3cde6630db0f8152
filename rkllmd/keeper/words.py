"""What the keeper says: lines of its log, and the line that clients get while there is no daemon.

JSON is put together by hand: the module that does it would be a tenth of the keeper's memory.
"""

from __future__ import annotations

import os
import select
import signal
import time

# What a pipe takes without blocking if it says that it is writable (pipe(7): PIPE_BUF).
_PIECE_BYTES = 4096
# The kind Restarting of rkllmd/errors.py.
_RESTARTING = -32014


def quoted(value: object) -> str:
    """Return a value as JSON: None, a number, a text, or a dict of such."""
    if value is None:
        return "null"
    if isinstance(value, (int, float)):
        return repr(value).lower()  # True is true
    if isinstance(value, dict):
        return "{" + ",".join(f"{quoted(name)}:{quoted(item)}" for name, item in value.items()) + "}"
    escaped = (letter if " " <= letter <= "~" and letter not in '"\\' else _escaped(letter) for letter in str(value))
    return '"' + "".join(escaped) + '"'


def _escaped(letter: str) -> str:
    code = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{code[at : at + 4]}" for at in range(0, len(code), 4))


def log(level: str, event: str, sentence: str, **members: object) -> None:
    """Log an event on stderr, as the daemon does: a line of JSON, or for a person a sentence."""
    if os.isatty(2):
        write(2, f"rkllmd: {sentence}\n".encode(errors="surrogateescape"))
        return
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1e6 % 1e6):06}Z"
    line = quoted({"event": event, "reason": sentence, **members, "level": level, "timestamp": stamp})
    write(2, f"{line}\n".encode())


def write(descriptor: int, data: bytes) -> bytes:
    """Write as much as is taken without waiting; return the rest, nothing where nobody will ever read it.

    A log that nobody reads must stop neither the keeper nor the daemon (``rkllmd/log/writer.py``).
    """
    arrival = select.poll()
    arrival.register(descriptor, select.POLLOUT)
    while data:
        ready = arrival.poll(0)
        if not ready:
            return data
        try:
            if not ready[0][1] & select.POLLOUT:
                return b""
            data = data[os.write(descriptor, data[:_PIECE_BYTES]) :]
        except OSError:
            return b""
    return b""


def end_of(code: int) -> str:
    """Return how a process has ended, as people say it; ``code`` as os.waitstatus_to_exitcode has it."""
    return f"exit status {code}" if code >= 0 else signal_name(-code)


def signal_name(number: int) -> str:
    """Return the name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def restarting(message: str, **data: object) -> bytes:
    """Return the line of a JSON-RPC error of the kind Restarting, which answers no request."""
    error = {"code": _RESTARTING, "message": message, "data": {"kind": "Restarting", **data}}
    return f"{quoted({'jsonrpc': '2.0', 'id': None, 'error': error})}\n".encode()

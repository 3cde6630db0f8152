"""Who serves a socket, and how to stop that: for ``rkllmd stop``, and for a second daemon on the same socket.

The kernel says which process listens (SO_PEERCRED, unix(7)), and the daemon itself says which process it is
(``server.status``). Only if both agree does a signal reach the right process: the kernel names systemd for a socket
that systemd has passed on, and a daemon in a container has another pid inside.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import shlex
import shutil
import signal
import socket as stdlib_socket
import sys
import time
from pathlib import Path
from typing import Final

import orjson

from rkllmd.client import why_no_connection
from rkllmd.json_types import JsonObject
from rkllmd.net.listening.takeover import user_name
from rkllmd.quick_dataclass import dataclass
from rkllmd.wire.credentials import credentials_of

_STATUS: Final = b'{"jsonrpc":"2.0","id":1,"method":"server.status"}\n'
# Instant methods answer in less than a millisecond, but not on a machine that swaps.
_ANSWER_SECONDS: Final = 10.0
_ANSWER_BYTES: Final = 2**24
# The daemon ends within ten seconds of SIGTERM; as long as TimeoutStopSec= of the unit.
STOP_SECONDS: Final = 15.0
_LOOK_AGAIN_SECONDS: Final = 0.05


class StopError(Exception):
    """The daemon was not stopped; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Server:
    """What serves a socket."""

    path: str
    # The kernel's number for the process that listens; 0 if that is in a container whose processes are invisible here.
    pid: int
    uid: int
    is_rkllmd: bool
    # The daemon's own number for itself; None if it has not said.
    own_pid: int | None

    @property
    def who(self) -> str:
        """Return how to name it in a sentence."""
        return f"rkllmd (pid {self.own_pid or self.pid}, {user_name(self.uid)}'s)"

    def how_to_stop(self) -> str:
        """Return what a person can do to stop it, as the end of a sentence."""
        if not self.is_rkllmd:
            return "it is not rkllmd, so stop it in its own way"
        if (command := self._systemctl()) is not None:
            return f"systemd runs it, so stop it with '{command}'"
        if not self.is_reachable:
            return f"process {self.pid} ({_name(self.pid)}) started it, so stop it there"
        sudo = "" if os.geteuid() in (0, self.uid) else "sudo "
        return f"stop it with '{sudo}{_command()} stop --socket {shlex.quote(self.path)}'"

    @property
    def is_reachable(self) -> bool:
        """Return whether a signal to ``pid`` reaches the daemon."""
        return self.pid > 0 and self.own_pid in (None, self.pid)

    def _systemctl(self) -> str | None:
        """Return the command that stops it, if systemd runs it."""
        if not self.is_reachable and _name(self.pid) == "systemd":
            # If only the service were stopped, systemd would start it again for the next client.
            return f"{_systemctl(self.pid)} stop rkllmd.socket rkllmd.service"
        unit, parent = _unit(self.pid), _parent(self.pid)
        if unit is not None and _name(parent) == "systemd":
            return f"{_systemctl(parent)} stop {unit}"
        return None


def find(path: str) -> Server | None:
    """Return what serves ``path``; None if nothing does. Raises OSError or ValueError, as connecting does."""
    with stdlib_socket.socket(stdlib_socket.AF_UNIX) as socket:
        socket.settimeout(_ANSWER_SECONDS)
        try:
            socket.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        pid, uid, _ = credentials_of(socket)
        answer = _ask(socket)
    error = answer.get("error")
    if isinstance(error, dict):  # too many clients, or shutting down: the error is rkllmd's if it has a kind
        return Server(path, pid, uid, "kind" in (error.get("data") or {}), None)
    result = answer.get("result")
    is_rkllmd = isinstance(result, dict) and "daemon" in result.get("versions", {})
    return Server(path, pid, uid, is_rkllmd, result.get("pid") if isinstance(result, dict) and is_rkllmd else None)


def _ask(socket: stdlib_socket.socket) -> JsonObject:
    """Return the answer to server.status; an empty object if there is none."""
    received = b""
    with contextlib.suppress(BrokenPipeError):  # the server may have closed, after an error that can still be read
        socket.sendall(_STATUS)
    with contextlib.suppress(OSError, orjson.JSONDecodeError):
        while b"\n" not in received and len(received) < _ANSWER_BYTES and (data := socket.recv(65_536)):
            received += data
        answer = orjson.loads(received.partition(b"\n")[0])
        return answer if isinstance(answer, dict) else {}
    return {}


def why_taken(path: str, choose: str) -> str | None:
    """Return a sentence on who serves ``path`` and what to do about it; None if nobody serves it.

    ``choose`` says how to choose another socket.
    """
    try:
        server = find(path)
    except (OSError, ValueError):
        return None
    if server is None:
        return None
    who = server.who if server.is_rkllmd else f"Process {server.pid} ({_name(server.pid)})"
    return f"{who} serves {path} already: {server.how_to_stop()}, or {choose}."


def stop(path: str) -> str:
    """Stop the daemon that serves ``path`` and wait for its end; return what was done. Raises StopError."""
    try:
        server = find(path)
    except (OSError, ValueError) as error:
        raise StopError(why_no_connection(error, "with --socket")) from None
    if server is None:
        raise StopError(f"No daemon serves {path}, so there is nothing to stop.")
    if not server.is_rkllmd:
        raise StopError(
            f"Process {server.pid} ({_name(server.pid)}) serves {path} and does not answer as rkllmd does: "
            f"to end it, kill {server.pid}."
        )
    if not server.is_reachable or server._systemctl() is not None:
        raise StopError(f"{server.who} serves {path}: {server.how_to_stop()}.")
    try:
        ended = _end(server.pid)
    except ProcessLookupError:
        ended = True
    except PermissionError:
        raise StopError(f"{server.who} serves {path}: {server.how_to_stop()}.") from None
    if not ended:
        raise StopError(f"{server.who} has not ended within {STOP_SECONDS:.0f} s of SIGTERM: kill -KILL {server.pid}.")
    return f"{server.who} is stopped; it served {path}."


def _end(pid: int) -> bool:
    """Send SIGTERM; return whether the process has ended in time. Raises ProcessLookupError, PermissionError."""
    try:
        process = os.pidfd_open(pid)
    except (AttributeError, OSError):  # before Linux 5.3
        return _end_by_number(pid)
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        ended = select.poll()
        ended.register(process, select.POLLIN)
        return bool(ended.poll(STOP_SECONDS * 1000))
    finally:
        os.close(process)


def _end_by_number(pid: int) -> bool:
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(_LOOK_AGAIN_SECONDS)
    return False


# -- what /proc says --------------------------------------------------------------------------------------------------


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "unknown"


def _parent(pid: int) -> int:
    try:
        # The state and the parent follow the name, which may contain anything (proc(5)).
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def _unit(pid: int) -> str | None:
    """Return the systemd service in whose control group the process is."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers in ("", "name=systemd") and group.endswith(".service"):
            return group.rpartition("/")[2]
    return None


def _systemctl(manager: int) -> str:
    """Return the command that controls this systemd: process 1 is the system's, any other is a user's."""
    if manager != 1:
        return "systemctl --user"
    return "systemctl" if os.geteuid() == 0 else "sudo systemctl"


def _command() -> str:
    """Return how to call this program, which may be in a virtual environment that is not on the path."""
    return "rkllmd" if shutil.which("rkllmd") else shlex.quote(str(Path(sys.executable).with_name("rkllmd")))


def main() -> int:
    """``python -m rkllmd.net.listening.serving PATH``: fail with a sentence if the socket is served already."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("path")
    parser.add_argument("--choose", default="choose another --socket", help="how to choose another socket")
    given = parser.parse_args()
    sentence = why_taken(given.path, given.choose)
    if sentence is not None:
        sys.stderr.write(f"{sentence}\n")
    return sentence is not None


if __name__ == "__main__":
    sys.exit(main())

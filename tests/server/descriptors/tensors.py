"""A connection that sends and takes file descriptors, and the files of these tests."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.daemon import SEEN_SECONDS, Daemon
from tests.wire_connection import Wire, kind

# fcntl(2), which Python 3.11 does not name.
F_ADD_SEALS, F_GET_SEALS = 1033, 1034
SHRINK, WRITE, ALL_SEALS = 0x2, 0x8, 0xF

MOST = 16  # descriptors of one message
MOST_WAITING = 64

SIZE = 48

LOST = "The connection is closed."


class FdWire(Wire):
    """A connection that takes descriptors too: in ``fds``, as they come."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.fds: list[int] = []
        self.read_bytes = 1 << 20

    def __exit__(self, *exception: object) -> None:
        self.close_fds()
        super().__exit__(*exception)

    def close_fds(self) -> None:
        """Close what came."""
        while self.fds:
            os.close(self.fds.pop())

    def send_fds(self, data: bytes, fds: Sequence[int]) -> None:
        """Send bytes, descriptors with the first of them."""
        sent = socket.send_fds(self.socket, [data], fds) if fds else 0
        if sent < len(data):
            self.socket.sendall(data[sent:])

    def receive(self) -> Any:
        """Return the next message; its descriptors have come by then."""
        while not self._lines:
            try:
                data, fds, flags, _ = socket.recv_fds(self.socket, self.read_bytes, 253)
            except ConnectionResetError:
                return None
            assert not flags & socket.MSG_CTRUNC
            self.fds += fds
            if not data:
                return None
            *self._lines, self._rest = (self._rest + data).split(b"\n")
        return json.loads(self._lines.pop(0))

    def call(self, method: str, params: Any = None, fds: Sequence[int] = (), call_id: Any = 1, **more: Any) -> Any:
        """Send a request with descriptors and return its answer."""
        self.send_fds(line(method, params, fds=len(fds), call_id=call_id, **more), fds)
        return self.final(call_id)


def line(method: str, params: Any = None, fds: Any = 0, call_id: Any = 1, **more: Any) -> bytes:
    """Return the line of a request that declares ``fds`` descriptors."""
    message = {"jsonrpc": "2.0", "id": call_id, "method": method, **more}
    if params is not None:
        message["params"] = params
    if fds != 0:
        message["fds"] = fds
    return json.dumps(message).encode() + b"\n"


def memfd(data: bytes = b"", size: int | None = None, seals: int = SHRINK, name: str = "tensor") -> int:
    """Return a memfd with these contents, as long as ``size`` says."""
    fd = os.memfd_create(name, os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(fd, data)
    if size is not None:
        os.ftruncate(fd, size)
    if seals:
        fcntl.fcntl(fd, F_ADD_SEALS, seals)
    return fd


def reopened(fd: int, flags: int) -> int:
    """Return another descriptor of the same file, opened with ``flags``; closes the first."""
    try:
        return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)
    finally:
        os.close(fd)


@contextlib.contextmanager
def closing(*fds: int) -> Iterator[list[int]]:
    """Close the descriptors at the end."""
    try:
        yield list(fds)
    finally:
        for fd in fds:
            os.close(fd)


def picture(number: int) -> bytes:
    """Return an input that no other number has."""
    return bytes((number + index) % 256 for index in range(SIZE))


def output(answer: dict[str, Any]) -> str:
    """Return the output of rknn.infer, in base64."""
    return str(answer["result"]["outputs"][0]["data"])


def in_base64(data: bytes) -> str:
    """Return what an answer says of these bytes."""
    return base64.b64encode(data).decode()


def _links(daemon: Daemon) -> list[str]:
    """Return what the daemon has open."""
    links = []
    for entry in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(entry))
    return links


def settle(daemon: Daemon, files: int) -> None:
    """Wait until the daemon has as many files open as ``files`` says, and nobody is connected."""
    deadline = time.monotonic() + SEEN_SECONDS
    while daemon.open_files() != files:
        assert time.monotonic() < deadline, f"{files} files were open, now {daemon.open_files()}: {_links(daemon)}"
        time.sleep(0.01)


def refused(answer: dict[str, Any]) -> str:
    """Return what the error of a wrong request says."""
    assert kind(answer) in ("InvalidParams", "InvalidRequest", "ParseError"), answer
    error = answer["error"]
    return str(error["data"].get("detail", error["message"]))

"""A descriptor that takes long to close holds up nobody, however it has come."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.server.descriptors.tensors import FdWire, closing, line, memfd
from tests.wire.lingering import Lingering, let_go

CONSTANTS = line("rkllm.get_constants", fds=1)


def _asked(wire: FdWire, fd: int, request: bytes) -> Any:
    """Send a request with it, whose last byte comes when nobody else has it any more; return the answer."""
    wire.send_fds(request[:-1], [fd])
    let_go(fd)
    wire.socket.sendall(b"\n")
    return wire.final(1)


def _declared(wire: FdWire, fd: int) -> None:
    _asked(wire, fd, CONSTANTS)


def _input(wire: FdWire, fd: int) -> None:
    """Give it for a tensor."""
    assert "error" in _asked(wire, fd, line("rknn.infer", {"inputs": {"fd": 0}}, fds=1))


def _undeclared(wire: FdWire, fd: int) -> None:
    wire.send_fds(b"{", [fd])
    let_go(fd)
    wire.socket.sendall(b"}\n")
    assert len(wire.receive_all()) > 0


def _behind_many(wire: FdWire, fd: int) -> None:
    """Send more than a message may bring."""
    with closing(*(memfd(b"x") for _ in range(40))) as others:
        wire.send_fds(b"{", [*others, fd])
        let_go(fd)
        assert len(wire.receive_all()) > 0


def _behind_another_protocol(wire: FdWire, fd: int) -> None:
    wire.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with suppress(BrokenPipeError):
        wire.send_fds(b"x", [fd])
    let_go(fd)
    wire.socket.close()


def _unread(wire: FdWire, fd: int) -> None:
    """Send it behind so much that the daemon waits for this client to read."""
    wire.socket.sendall(b"".join(line("rpc.discover", call_id=number) for number in range(30)))
    wire.send_fds(CONSTANTS, [fd])
    let_go(fd)
    wire.socket.close()


@pytest.mark.parametrize(
    "send",
    [_declared, _input, _undeclared, _behind_many, _behind_another_protocol, _unread],
    ids=lambda send: send.__name__,
)
def test_others_are_answered(serve: Any, send: Callable[[FdWire, int], None]) -> None:
    daemon, _ = serve()
    with Lingering() as lingering, FdWire(daemon.path) as wire:
        send(wire, lingering.give())
        with FdWire(daemon.path) as other:
            for _ in range(3):
                assert "result" in other.ask("server.queue")
        lingering.take_all()

"""Bytes go both ways, however slowly somebody reads; who does not listen is an error."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rkllmd.client import ConnectError
from rkllmd.gateway.upstream.wire import Wire


async def test_a_long_message_waits_for_its_reader() -> None:
    ours, theirs = socket.socketpair()
    wire, sent = Wire(ours), bytes(range(256)) * 10_000
    received = bytearray()

    async def read() -> None:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        while data := await stream.receive_some(1 << 16):
            received.extend(data)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wire.send(sent)
        assert wire.is_quiet
        wire.end()
        assert await wire.receive() == b""
        assert not wire.is_quiet
    wire.close()
    assert received == sent


async def test_messages_of_several_tasks_stay_whole() -> None:
    ours, theirs = socket.socketpair()
    wire, received = Wire(ours), bytearray()
    async with trio.open_nursery() as nursery:
        for letter in (b"a", b"b"):
            nursery.start_soon(wire.send, letter * 1_000_000)
        await wait_all_tasks_blocked()
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        while len(received) < 2_000_000:
            received += await stream.receive_some(1 << 16)
        await stream.aclose()
    wire.close()
    assert sorted((received[:1_000_000], received[1_000_000:])) == [b"a" * 1_000_000, b"b" * 1_000_000]


async def test_a_hang_up_is_the_end() -> None:
    ours, theirs = socket.socketpair()
    wire = Wire(ours)
    theirs.send(b"a")
    assert not wire.is_quiet
    assert await wire.receive() == b"a"
    theirs.close()
    assert await wire.receive() == b""
    with pytest.raises(OSError, match="pipe"):
        await wire.send(b"a")
    wire.close()


async def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(ConnectError):
        await Wire.connect(str(tmp_path / "nobody.sock"), None)

"""A WebSocket's client can't make the gateway hold more than is allowed, nor delay its end."""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rkllmd.gateway.web.bounds.memory import Memory
from rkllmd.gateway.web.bounds.websockets import BoundedStream
from tests.gateway.web.bounds.hypercorn_server import serving

MOST = 100_000
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


def frame(data: bytes, *, op: int = 1, size: int | None = None) -> bytes:
    """Return a masked frame, whose mask changes nothing; ``size``: what it says of its length."""
    says = len(data) if size is None else size
    length = bytes([0x80 | says]) if says < 126 else b"\xff" + struct.pack(">Q", says)
    return bytes([0x80 | op]) + length + bytes(4) + data


class Served:
    """A server that takes a message of a connection for each of its ``turns``; ``taken`` has their lengths."""

    def __init__(self) -> None:
        self.streams: list[trio.SocketStream] = []
        self.port = 0
        self.taken: list[int] = []
        self.gone = 0
        self.turns: list[trio.Semaphore] = []

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        """Take messages."""
        assert scope["type"] == "websocket", "it has no lifespan"
        turns = trio.Semaphore(0)
        self.turns.append(turns)
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await turns.acquire()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.gone += 1
                return
            self.taken.append(len(message["bytes"]))

    async def connect(self) -> trio.SocketStream:
        """Open a WebSocket."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self.streams.append(stream)
        await stream.send_all(HANDSHAKE)
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        assert b"sec-websocket-extensions" not in head.lower(), "what is compressed has no size yet"
        return stream


@pytest.fixture
async def account(monkeypatch: pytest.MonkeyPatch) -> Memory:
    account = Memory(6 * MOST, 6 * MOST)
    monkeypatch.setattr(BoundedStream, "account", account)
    return account


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    found = Served()
    async with serving(found.application, websocket_max_message_size=MOST) as port:
        found.port = port
        yield found
        for stream in found.streams:
            await stream.aclose()


async def closing(stream: trio.SocketStream) -> int:
    """Return the code of the frame that closes."""
    got = b""
    while b"\x88" not in got or len(got.partition(b"\x88")[2]) < 3:
        more = await stream.receive_some()
        assert more, "it closes without a word"
        got += more
    return int.from_bytes(got.partition(b"\x88")[2][1:3], "big")


async def test_a_message_too_long_is_refused_and_what_follows_is_not_kept(account: Memory) -> None:
    async with served() as server:
        stream = await server.connect()
        server.turns[0].release()
        await stream.send_all(frame(b"x" * (MOST + 1), size=2**40))
        assert await closing(stream) == 1009
        await stream.send_all(b"x" * 10 * MOST)
        await wait_all_tasks_blocked()
        assert account.held == 0
        await stream.aclose()
        await wait_all_tasks_blocked()
        assert (server.taken, server.gone) == ([], 1)


async def test_what_is_compressed_is_not_unpacked(account: Memory) -> None:
    async with served() as server:
        stream = await server.connect()
        await stream.send_all(frame(zlib.compress(bytes(MOST)), op=0x41))
        assert await closing(stream) == 1002


async def test_one_large_message_waits_and_all_connections_share_a_bound(account: Memory) -> None:
    async with served() as server, trio.open_nursery() as nursery:
        first, second, third = [await server.connect() for _ in range(3)]
        nursery.start_soon(first.send_all, 3 * frame(b"x" * MOST))
        await wait_all_tasks_blocked()
        assert account.held == 6 * MOST, "one waits for the application, one for its place"
        await second.send_all(frame(b"x"))
        assert await closing(second) == 1013
        server.turns[0].release()
        server.turns[0].release()
        await wait_all_tasks_blocked()
        assert server.taken == [MOST, MOST]
        for stream, turns in zip((first, second, third), server.turns, strict=True):
            await stream.aclose()
            for _ in range(3):
                turns.release()
        await wait_all_tasks_blocked()
        assert (account.held, server.gone) == (0, 3)


async def test_many_small_ones_wait_in_their_order(account: Memory) -> None:
    async with served() as server:
        stream = await server.connect()
        await stream.send_all(b"".join(frame(b"x" * size) for size in range(100)))
        for _ in range(100):
            server.turns[0].release()
        await wait_all_tasks_blocked()
        assert server.taken == list(range(100))
        assert account.held <= 3 * 99


async def test_a_closed_one_does_not_wait_for_its_next_ping(account: Memory) -> None:
    async with served() as server:
        stream = await server.connect()
        server.turns[0].release()
        before = trio.lowlevel.current_statistics().tasks_living
        await stream.aclose()
        await wait_all_tasks_blocked()
        assert server.gone == 1
        assert trio.lowlevel.current_statistics().tasks_living < before - 1

"""What a client reads slowly comes whole and in order, whether the kernel has taken it at once or not."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.responses import StreamingResponse
from trio.testing import wait_all_tasks_blocked

from rkllmd.gateway.web import prompt_sending

PIECES = [os.urandom(100_000) for _ in range(80)]


async def _pieces() -> AsyncIterator[bytes]:
    for piece in PIECES:
        yield piece


async def _application(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http", "it has no lifespan"
    await StreamingResponse(_pieces())(scope, receive, send)


async def test_a_slow_reader_gets_every_piece() -> None:
    prompt_sending.use()
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.loglevel = "CRITICAL"
    body = bytearray()
    async with trio.open_nursery() as nursery:
        [address] = await nursery.start(partial(serve, _application, config))
        async with await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2])) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await wait_all_tasks_blocked()  # the server waits for us
            while not body.endswith(b"\r\n0\r\n\r\n"):
                body += await stream.receive_some()
        nursery.cancel_scope.cancel()
    assert _unchunked(bytes(body).partition(b"\r\n\r\n")[2]) == b"".join(PIECES)


def _unchunked(rest: bytes) -> bytes:
    found = b""
    while not rest.startswith(b"0\r\n"):
        size, _, rest = rest.partition(b"\r\n")
        found, rest = found + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return found

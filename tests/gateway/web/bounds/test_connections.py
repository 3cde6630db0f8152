"""Nothing that comes over one connection ends the others, and no client keeps more than its part for ever."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from hypercorn.logging import Logger
from starlette.responses import Response, StreamingResponse
from trio.testing import wait_all_tasks_blocked

from rkllmd.gateway.web.bounds import refusals
from rkllmd.gateway.web.bounds.connections import CONNECTION, LoneServer, stop_sending
from rkllmd.gateway.web.bounds.places import Places
from rkllmd.gateway.web.bounds.unread import Unread
from tests.gateway.boards.certificates import make
from tests.gateway.chunks import joined
from tests.gateway.web.bounds.hypercorn_server import serving

HOST = "127.0.0.1"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
PIECES = [os.urandom(100_000) for _ in range(80)]
LETTERS = [bytes([number]) for number in range(48, 128)]
UPGRADE = GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"


async def _application(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http", "it has no lifespan"
    await Response(b"here")(scope, receive, send)


@asynccontextmanager
async def served(app: Any = _application) -> AsyncIterator[partial[Any]]:
    """Serve an application; yield what connects to it."""
    async with serving(app) as port:
        yield partial(trio.open_tcp_stream, "127.0.0.1", port)


async def received(stream: trio.SocketStream) -> bytes:
    """Return all that comes."""
    found = b""
    with trio.fail_after(60):
        while more := await stream.receive_some():
            found += more
    return found


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (UPGRADE + b"Sec-WebSocket-Key: a\r\nSec-WebSocket-Protocol: \xff\r\n\r\n", False),
        (GET + b"Upgrade: h2c\r\nConnection: Upgrade\r\nHTTP2-Settings: AAAA\r\n\r\n", True),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", True),
    ],
    ids=["a header that is no text", "an upgrade to HTTP/2", "the preface of HTTP/2"],
)
async def test_what_one_client_sends_ends_nobody_else(sent: bytes, *, answered: bool) -> None:
    async with served() as connect:
        for request, is_answered in ((sent, answered), (GET + b"\r\n", True)):
            async with await connect() as stream:
                await stream.send_all(request)
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 ") is is_answered


@pytest.mark.parametrize(
    ("sent", "status", "says"),
    [
        (b"GARBAGE\r\n\r\n", b"400", b"This can't be read as a request of HTTP/1.1"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400", b"which has a Host"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"400", b"is encrypted for https alone"),
        (GET + b"A: " + b"a" * 33_000, b"431", b"The headers of the request are too long"),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", b"400", b"content-length: 0"),
    ],
)
async def test_what_can_t_be_read_is_told_so(sent: bytes, status: bytes, says: bytes) -> None:
    async with served(_reading) as connect, await connect() as stream:
        await stream.send_all(sent)
        found = await received(stream)
    assert found.startswith(b"HTTP/1.1 " + status)
    assert says in found


async def _reading(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http", "it has no lifespan"
    while (await receive())["type"] != "http.disconnect":
        pass


async def test_idle_ones_leave_and_where_all_are_busy_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LoneServer, "places", Places(2, 2))
    told: list[tuple[str, int]] = []
    monkeypatch.setattr(refusals.OF_ALL, "tell", lambda address, status: told.append((address, status)))
    may_answer = trio.Event()

    async def slowly(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await may_answer.wait()
        await _application(scope, receive, send)

    async with served(slowly) as connect, await connect() as idle, await connect() as first:
        await idle.send_all(GET)  # its headers do not end
        await first.send_all(GET + b"\r\n")
        await wait_all_tasks_blocked()
        async with await connect() as second:
            await second.send_all(GET + b"\r\n")
            assert await received(idle) == b""
            await wait_all_tasks_blocked()
            async with await connect() as third:
                await third.send_all(GET + b"\r\n")
                refused = await received(third)
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert told == [("127.0.0.1", 503)]
            assert b"come again later" in refused
            async with await connect() as fourth:
                await wait_all_tasks_blocked()
                fourth.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await wait_all_tasks_blocked()
            assert told == [("127.0.0.1", 503)] * 2, "also of who resets the connection before it is answered"
            may_answer.set()
            for stream in (first, second):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")


async def test_one_that_leaves_before_it_is_encrypted_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    async def error(logger: Logger, message: str, *values: Any) -> None:
        said.append(message % values)

    monkeypatch.setattr(Logger, "error", error)
    monkeypatch.setattr(LoneServer, "places", Places(1, 1))
    make(tmp_path, HOST)
    pem = str(tmp_path / f"{HOST}.pem")
    encrypted = serving(_application, certfile=pem, keyfile=pem)
    async with encrypted as port, await trio.open_tcp_stream(HOST, port) as first:
        await first.send_all(b"\x16\x03")
        await wait_all_tasks_blocked()
        async with await trio.open_tcp_stream(HOST, port):
            assert await received(first) == b""
    assert said == []


@pytest.mark.parametrize("asks", [False, True], ids=["without a request", "after a request"])
@pytest.mark.parametrize("closes", [False, True], ids=["left for others", "closed"])
async def test_nothing_is_kept_of_connections_that_have_ended(
    monkeypatch: pytest.MonkeyPatch, *, asks: bool, closes: bool
) -> None:
    """However many come and go."""
    monkeypatch.setattr(LoneServer, "places", Places(1, 1))
    tell_end, ends = trio.open_memory_channel[None](5)
    run = LoneServer.run

    async def told(self: LoneServer) -> None:
        await run(self)
        tell_end.send_nowait(None)

    monkeypatch.setattr(LoneServer, "run", told)
    async with serving(_application, keep_alive_timeout=3600) as port, AsyncExitStack() as open_streams:
        for _ in range(5):
            stream = await open_streams.enter_async_context(await trio.open_tcp_stream(HOST, port))
            if asks:
                await stream.send_all(GET + b"\r\n")
                assert await stream.receive_some()
            if closes:
                await stream.aclose()
            await wait_all_tasks_blocked()
        with trio.fail_after(60):
            for _ in range(5 if closes else 4):
                await ends.receive()


async def test_a_slow_reader_gets_every_piece() -> None:
    """They come whole and in order, whether the kernel has taken them at once or not."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in PIECES:
            yield piece

    async def streams(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", "it has no lifespan"
        await StreamingResponse(pieces())(scope, receive, send)

    body = bytearray()
    async with served(streams) as connect, await connect() as stream:
        await stream.send_all(GET + b"\r\n")
        await wait_all_tasks_blocked()  # the server waits for us
        while not body.endswith(b"\r\n0\r\n\r\n"):
            body += await stream.receive_some()
    assert joined(bytes(body).partition(b"\r\n\r\n")[2]) == b"".join(PIECES)


class Endless:
    """An application whose answer has no end."""

    def __init__(self) -> None:
        self.is_left = trio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer until the client has gone."""
        assert scope["type"] == "http", "it has no lifespan"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._answer, send)
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()
        self.is_left.set()

    async def _answer(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": PIECES[0], "more_body": True})


@pytest.mark.parametrize("is_encrypted", [False, True], ids=["HTTP", "HTTPS"])
@pytest.mark.parametrize("is_asked_to_end", [False, True], ids=["in time", "at the end"])
async def test_who_does_not_read_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_encrypted: bool, is_asked_to_end: bool
) -> None:
    if not is_asked_to_end:
        monkeypatch.setattr(LoneServer, "patience_seconds", 0.05)
    settings: dict[str, str] = {}
    if is_encrypted:
        make(tmp_path, HOST)
        settings = {"certfile": str(tmp_path / f"{HOST}.pem"), "keyfile": str(tmp_path / f"{HOST}.pem")}
    endless = Endless()
    async with serving(endless, **settings) as port, await trio.open_tcp_stream(HOST, port) as connection:
        stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = connection
        if is_encrypted:
            context = ssl.create_default_context(cafile=tmp_path / "authority.pem")
            stream = trio.SSLStream(connection, context, server_hostname=HOST)
        await stream.send_all(GET + b"\r\n")
        with trio.fail_after(60):
            while is_asked_to_end and not endless.is_left.is_set():
                await stop_sending(0)
            await endless.is_left.wait()
            while await connection.receive_some():  # what the kernels had; then it is closed
                pass


async def test_long_answers_are_not_kept_for_all_who_do_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has not read for longest leaves, and all others get what they wait for."""
    answer = b"".join(PIECES)
    monkeypatch.setattr(LoneServer, "unread", Unread(2 * len(answer)))

    async def long(scope: Any, receive: Any, send: Any) -> None:
        await Response(answer)(scope, receive, send)

    async with served(long) as connect, AsyncExitStack() as open_streams:
        streams = [await open_streams.enter_async_context(await connect()) for _ in range(4)]
        for stream in streams:
            await stream.send_all(GET + b"Connection: close\r\n\r\n")
            await wait_all_tasks_blocked()
        found = [(await received(stream)).partition(b"\r\n\r\n")[2] for stream in streams]
    whole = [body == answer for body in found]
    assert not whole[0]
    assert whole[-1]
    assert 0 < sum(whole) < len(streams)
    assert LoneServer.unread.total == 0


async def test_a_slow_reader_gets_all_that_is_passed_on() -> None:
    ours, theirs = socket.socketpair()

    def up_to_dot(data: bytes) -> tuple[bytes, bytes]:
        before, dot, after = data.partition(b".")
        return before, dot + after

    async def streams(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", "it has no lifespan"
        connection: LoneServer = scope["state"][CONNECTION]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        rest = b""
        while not rest:
            assert connection.sends_at_once
            rest = await connection.pass_on(ours, up_to_dot, 60) or b""
        await send({"type": "http.response.body", "body": rest})

    async def give() -> None:
        async with trio.SocketStream(trio.socket.from_stdlib_socket(theirs)) as stream:
            for letter in LETTERS:
                await stream.send_all(letter * 100_000)
            await stream.send_all(b".end\n")

    body = bytearray()
    ours.setblocking(False)
    with ours:
        async with served(streams) as connect, await connect() as stream, trio.open_nursery() as nursery:
            await stream.send_all(GET + b"\r\n")
            nursery.start_soon(give)
            await wait_all_tasks_blocked()
            while not body.endswith(b"\r\n0\r\n\r\n"):
                body += await stream.receive_some()
    passed = b"".join(letter * 100_000 for letter in LETTERS)
    assert joined(bytes(body).partition(b"\r\n\r\n")[2]) == passed + b".end\n"

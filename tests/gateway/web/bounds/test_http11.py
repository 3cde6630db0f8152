"""Requests that come before the one before them is answered."""

from __future__ import annotations

from typing import Any

import h11
import pytest
import trio
from hypercorn.config import Config
from hypercorn.events import Event, RawData
from hypercorn.trio.worker_context import WorkerContext
from starlette.responses import Response

from rkllmd.gateway.web.bounds.http11 import Http11
from tests.gateway.web.bounds.hypercorn_server import serving

HOST = "127.0.0.1"


def _get(path: str) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode()


async def _application(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http", "it has no lifespan"
    await trio.lowlevel.checkpoint()
    await Response(f"<{scope['path']}>")(scope, receive, send)


@pytest.mark.parametrize("count", [1, 3, 2000], ids=["one", "some", "more than are read ahead"])
async def test_they_are_answered_in_their_order(count: int) -> None:
    requests, found = b"".join(_get(f"/{number}") for number in range(count)), b""
    async with serving(_application, keep_alive_max_requests=10_000) as port, trio.open_nursery() as nursery:
        stream = await trio.open_tcp_stream(HOST, port)
        nursery.start_soon(stream.send_all, requests)
        with trio.fail_after(60):
            while not found.endswith(b"</%d>" % (count - 1)):
                found += await stream.receive_some()
        await stream.aclose()
    assert [int(part.partition(b">")[0]) for part in found.split(b"</")[1:]] == list(range(count))


@pytest.mark.parametrize(
    "pieces", [[b""], [_get("/")], [_get("/"), b"GET / HTTP/1.1\r\n"]], ids=["none", "one", "a part"]
)
async def test_it_is_noticed_that_the_client_goes_while_they_wait(pieces: list[bytes]) -> None:
    begun, left = trio.Event(), trio.Event()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", "it has no lifespan"
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    async with serving(waits, keep_alive_timeout=3600) as port, await trio.open_tcp_stream(HOST, port) as stream:
        with trio.fail_after(60):
            await stream.send_all(_get("/"))
            await begun.wait()
            for piece in pieces:
                await stream.send_all(piece)
            await stream.aclose()
            await left.wait()


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 4\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n",
    ],
)
async def test_where_the_end_of_a_request_is_not_certain_nothing_more_is_read(head: bytes) -> None:
    follows = b"0\r\n\r\n" + _get("/smuggled")
    found = b""
    async with serving(_application) as port, await trio.open_tcp_stream(HOST, port) as stream:
        await stream.send_all(head + b"Host: localhost\r\n\r\n" + follows)
        with trio.fail_after(60):
            while data := await stream.receive_some():
                found += data
    assert found.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert b"smuggled" not in found
    assert found.count(b"content-length: ") == 1


@pytest.mark.parametrize(
    ("method", "headers", "body", "count"),
    [
        ("GET", {"content-length": "5"}, b"whole", 1),
        ("HEAD", {"content-length": "5"}, b"", 1),
        ("GET", {"content-length": "0"}, b"", 1),
        ("GET", {"content-length": "70000"}, b"x" * 70_000, 2),
        ("GET", {}, b"a part", 3),
    ],
    ids=["whole", "its head only", "empty", "long", "in chunks"],
)
async def test_a_whole_answer_is_sent_at_once_and_a_stream_as_it_comes(
    method: str, headers: dict[str, str], body: bytes, count: int
) -> None:
    sent: list[bytes] = []

    async def send(event: Event) -> None:
        assert isinstance(event, RawData)
        await trio.lowlevel.checkpoint()
        sent.append(event.data)

    nothing: Any = None
    protocol = Http11(nothing, Config(), WorkerContext(None), nothing, {}, False, ("", 1), ("", 2), send)
    protocol.connection.receive_data(b"%b / HTTP/1.1\r\nHost: localhost\r\n\r\n" % method.encode())
    protocol.connection.next_event()
    events = (h11.Response(status_code=200, headers=list(headers.items())), h11.Data(data=body), h11.EndOfMessage())
    for event in events:
        await protocol._send_h11_event(event)
    pieces = [piece for piece in sent if piece]
    assert len(pieces) == count
    assert pieces[0].startswith(b"HTTP/1.1 200 ")
    assert body in b"".join(pieces)

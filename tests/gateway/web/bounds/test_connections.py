"""Nothing that comes over one connection ends the others."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.responses import Response

from rkllmd.gateway.web.bounds import connections

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
UPGRADE = GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"


async def _application(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http", "it has no lifespan"
    await Response(b"here")(scope, receive, send)


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
    connections.use()
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.loglevel = "CRITICAL"
    async with trio.open_nursery() as nursery:
        [address] = await nursery.start(partial(serve, _application, config))
        port = int(address.rpartition(":")[2])
        for request, is_answered in ((sent, answered), (GET + b"\r\n", True)):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(request)
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 ") is is_answered
        nursery.cancel_scope.cancel()

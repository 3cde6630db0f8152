"""GET /ws: the daemon's own protocol over WebSocket, each line a message, over a connection of its own.

Nothing is kept here but the line that comes: where a client does not read, the daemon is not read either, and drops the
connection as that of any slow client. A client that goes takes its calls with it.
"""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Final

import trio
from starlette.types import Receive, Scope, Send

from rkllmd.client import ClientError
from rkllmd.gateway.openai import shape
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.upstream.wire import Wire
from rkllmd.gateway.web.answers import answer_failure
from rkllmd.wire.lines import LineBuffer

_SUBPROTOCOL: Final = "jsonrpc"
# Of RFC 6455's registry: the service restarts, so a client may come again.
_SERVICE_RESTART: Final = 1012
# What separates lines, and is nothing but white space in JSON.
_LINE_ENDS: Final = bytes.maketrans(b"\r\n", b"  ")


class WebSocketEndpoint:
    """An ASGI application for the scope ``websocket``."""

    def __init__(self, upstream: Upstream) -> None:
        """Relay to the daemon behind ``upstream``."""
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Relay until one of both goes."""
        await receive()  # the client's wish to connect
        try:
            wire = await self._upstream.wire()
        except ClientError as error:
            await answer_failure(error, shape.error_body)(scope, receive, send)
            return
        chosen = _SUBPROTOCOL if _SUBPROTOCOL in scope["subprotocols"] else None
        with closing(wire):
            await send({"type": "websocket.accept", "subprotocol": chosen})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_to_client, wire, send, nursery.cancel_scope)
                await _to_daemon(receive, wire)
                nursery.cancel_scope.cancel()


async def _to_daemon(receive: Receive, wire: Wire) -> None:
    """Send each message as a line, until the client goes."""
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        line = message["bytes"] if text is None else text.encode()
        try:
            await wire.send(line.translate(_LINE_ENDS) + b"\n")
        except OSError:  # what the daemon said at last is still to be sent
            await trio.sleep_forever()


async def _to_client(wire: Wire, send: Send, whole: trio.CancelScope) -> None:
    """Send each line as a message, until the daemon goes."""
    lines = LineBuffer(sys.maxsize)
    while data := await wire.receive():
        for line in lines.feed(data):
            await send({"type": "websocket.send", "text": bytes(line).decode()})
    await send({"type": "websocket.close", "code": _SERVICE_RESTART, "reason": "The NPU daemon closed the connection."})
    whole.cancel()

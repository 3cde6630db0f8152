"""POST /rpc: the daemon's own protocol over HTTP, one request or batch at a time, over a connection of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from typing import Final

import orjson
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from rkllmd.client import ClientError, ConnectError
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.openai import shape
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.upstream.wire import Wire
from rkllmd.gateway.web import body
from rkllmd.gateway.web.answers import answer_failure
from rkllmd.gateway.web.body import GoneError
from rkllmd.gateway.web.hang_up import unless_gone

_LINES: Final = "application/x-ndjson"


class RelayEndpoint:
    """An ASGI application; with ``Accept: application/x-ndjson`` the lines of the answer come as they are made."""

    def __init__(self, upstream: Upstream) -> None:
        """Relay to the daemon behind ``upstream``."""
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Relay one request."""
        try:
            line = orjson.dumps(await body.read_json(scope, receive), option=orjson.OPT_APPEND_NEWLINE)
            with closing(await self._upstream.wire()) as wire:
                await unless_gone(receive, lambda: _ask(wire, line))
                if _LINES in dict(scope["headers"]).get(b"accept", b"").decode("latin-1"):
                    await StreamingResponse(_chunks(wire), media_type=_LINES)(scope, receive, send)
                    return
                answer = await unless_gone(receive, lambda: _all(wire))
            kind = _LINES if answer.count(b"\n") > 1 else "application/json"
            response = Response(answer, media_type=kind) if answer else Response(status_code=204)
        except GoneError:
            return
        except (Failure, ClientError, OSError) as error:
            known = ConnectError(0, str(error)) if type(error) is OSError else error
            response = answer_failure(known, shape.error_body)
        await response(scope, receive, send)


async def _ask(wire: Wire, line: bytes) -> None:
    """Send all that is asked: the daemon closes the connection when it has answered."""
    await wire.send(line)
    wire.end()


async def _chunks(wire: Wire) -> AsyncIterator[bytes]:
    while chunk := await wire.receive():
        yield chunk


async def _all(wire: Wire) -> bytes:
    return b"".join([chunk async for chunk in _chunks(wire)])

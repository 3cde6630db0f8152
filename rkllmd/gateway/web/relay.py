"""POST /rpc: the daemon's own protocol over HTTP, one request or batch at a time, over a connection of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from typing import Final

import orjson
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from rkllmd.client import ClientError, ConnectionLost, Crashed
from rkllmd.gateway.access_log import record
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.openai import shape
from rkllmd.gateway.upstream.connection import ended
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.upstream.wire import Wire
from rkllmd.gateway.web import body
from rkllmd.gateway.web.answers import answer_failure
from rkllmd.gateway.web.body import GoneError
from rkllmd.gateway.web.hang_up import unless_gone
from rkllmd.json_types import Json

_LINES: Final = "application/x-ndjson"


class RelayEndpoint:
    """An ASGI application; with ``Accept: application/x-ndjson`` the lines of the answer come as they are made."""

    def __init__(self, upstream: Upstream) -> None:
        """Relay to the daemon behind ``upstream``."""
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Relay one request."""
        try:
            asked = await body.read_json(scope, receive)
            record.current().call = _called(asked)
            line = orjson.dumps(asked, option=orjson.OPT_APPEND_NEWLINE)
            with closing(await self._upstream.wire()) as wire:
                was_sent = await unless_gone(receive, lambda: _ask(wire, line))
                if was_sent and _LINES in dict(scope["headers"]).get(b"accept", b"").decode("latin-1"):
                    await StreamingResponse(_chunks(wire), media_type=_LINES)(scope, receive, send)
                    return
                answer = await unless_gone(receive, lambda: _all(wire))
            if wire.is_cut:
                raise ended(is_begun=was_sent)
            if not answer and not was_sent:
                raise ConnectionLost
            if not answer and _has_answers(asked):
                raise Crashed("/rpc")
            kind = _LINES if answer.count(b"\n") > 1 else "application/json"
            response = Response(answer, media_type=kind) if answer else Response(status_code=204)
        except GoneError:
            return
        except (Failure, ClientError) as error:
            response = answer_failure(error, shape.error_body)
        await response(scope, receive, send)


async def _ask(wire: Wire, line: bytes) -> bool:
    """Send all that is asked: the daemon closes the connection when it has answered. Return whether it took all."""
    try:
        await wire.send(line)
    except OSError:  # what it said before it closed the connection is still to be read
        return False
    wire.end()
    return True


def _has_answers(asked: Json) -> bool:
    """Return whether not all of it are notifications."""
    requests = asked if isinstance(asked, list) else [asked]
    return any(isinstance(item, dict) and "id" in item for item in requests)


def _called(asked: Json) -> str | None:
    """Return the method that is called, for a batch of requests ``batch``; None where no name is one."""
    if isinstance(asked, list):
        return "batch"
    method = asked.get("method") if isinstance(asked, dict) else None
    return method if isinstance(method, str) else None


async def _chunks(wire: Wire) -> AsyncIterator[bytes]:
    while chunk := await wire.receive():
        yield chunk


async def _all(wire: Wire) -> bytes:
    return b"".join([chunk async for chunk in _chunks(wire)])

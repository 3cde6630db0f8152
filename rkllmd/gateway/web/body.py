"""The body of a request: all of it, within limits of size and time, as JSON."""

from __future__ import annotations

import codecs
from typing import Final

import orjson
import trio
from starlette.types import Receive, Scope

from rkllmd.gateway.failures import Failure
from rkllmd.json_types import Json

MOST_BYTES: Final = 16 * 1024 * 1024
# 16 MiB over a slow line take a while; one that says nothing for so long will not any more.
_SECONDS: Final = 120.0
_AS_IT_IS: Final = b"identity"


class GoneError(Exception):
    """The client has hung up: there is nobody to answer."""


async def read(scope: Scope, receive: Receive) -> bytes:
    """Return the body. Raises Failure, GoneError."""
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > MOST_BYTES:
        raise _too_large()
    body = bytearray()
    with trio.move_on_after(_SECONDS):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise GoneError
            body += message.get("body", b"")
            if len(body) > MOST_BYTES:
                raise _too_large()
            if not message.get("more_body", False):
                return bytes(body)
    raise Failure(408, "Timeout", "The request did not come to its end in time: send it again.")


async def read_json(scope: Scope, receive: Receive) -> Json:
    """Return the body as JSON. Raises Failure, GoneError."""
    coding = dict(scope["headers"]).get(b"content-encoding", _AS_IT_IS)
    if coding.lower() != _AS_IT_IS:
        raise Failure(415, "NotSupported", "The body of the request is compressed: send it without Content-Encoding.")
    body = (await read(scope, receive)).removeprefix(codecs.BOM_UTF8)
    if not body:
        raise Failure(400, "ParseError", "The request has no body: send a JSON object.")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Failure(400, "ParseError", f"The body of the request is not {_missed(body, error)}.") from None


def _missed(body: bytes, error: orjson.JSONDecodeError) -> str:
    """Return what a body is not, and where that shows."""
    try:
        body.decode()
    except UnicodeDecodeError as wrong:
        return f"in UTF-8, from byte {wrong.start} on"
    return f"JSON: {error}"


def _too_large() -> Failure:
    return Failure(413, "FrameTooLarge", f"The request is longer than {MOST_BYTES} bytes: send less at once.")

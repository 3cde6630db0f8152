"""Clients that speak another protocol than ours: they are recognised, and one line says what this socket speaks.

This module only decides, from lines that are no Requests and from the first bytes of a connection. There are two cases:

- Protocols that can't work here (HTTP, TLS, headers in front of each message as in LSP): they get one answer, and the
  connection is closed. What they send next may look like lines of ours, such as the body of a POST: none is executed.
- A JSON value over several lines, as pretty-printers make it: its first line is answered with the error, its other
  lines are not answered, and the connection goes on behind it.
"""

from __future__ import annotations

import re
from typing import Final

from rkllmd.errors import ParseError
from rkllmd.quick_dataclass import dataclass
from rkllmd.wire import jsonrpc
from rkllmd.wire.long_bytes import LongBytes

SPEAKS: Final = "This socket speaks JSON-RPC 2.0, one JSON value per line"
_EXAMPLE: Final = '{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}'

# RFC 9112, section 3 (request-line), and the preface of HTTP/2 (RFC 9113, section 3.4).
_HTTP: Final = re.compile(rb"[A-Z]{3,16} \S+ HTTP/\d(\.\d)?\s*", re.ASCII)
# The header part of the base protocol of LSP (its specification 3.17), and of MIME in general.
_HEADER: Final = re.compile(rb"content-(length|type)[ \t]*:", re.IGNORECASE)
# RFC 8446, section 5.1: a record of type handshake, and a version 3.x.
_TLS: Final = b"\x16\x03"

# Brackets are not counted in a longer line, since that would take the event loop's time.
_LONGEST_LINE: Final = 4096
# What JSON is made of, up to where a line ends. Strings hold no line breaks.
_TOKENS: Final = re.compile(
    rb'(?:[\s,:]+|"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|(?P<opens>[\[{])|(?P<closes>[\]}]))'
)
# How a line goes on with a value that another line has begun. A good request begins at the margin with a brace.
_GOES_ON: Final = re.compile(rb'[ \t]|[\]},]|"(?:[^"\\]|\\.)*"\s*:')


@dataclass(frozen=True, slots=True)
class Farewell:
    """The protocol that a stranger speaks, and the bytes to send before the connection is closed."""

    protocol: str
    reply: bytes


class Strangers:
    """What one connection has sent so far that is not our protocol."""

    __slots__ = ("_depth", "_is_introduced")

    def __init__(self) -> None:
        self._depth = 0  # how many brackets are open in a value over several lines
        self._is_introduced = False

    @property
    def is_inside(self) -> bool:
        """Return whether a value over several lines is not complete yet: each line has to go to ``look_at`` then."""
        return self._depth > 0

    def look_at(
        self, line: LongBytes | None, message: jsonrpc.Message | list[jsonrpc.Message]
    ) -> jsonrpc.Message | list[jsonrpc.Message] | Farewell:
        """Return what to do with a line: handle the message itself, or another one in its place, or say farewell.

        To be called for lines that are no Requests, and for every line while ``is_inside``. ``line`` may be None where
        the line is long.
        """
        if self._depth:
            if self._goes_on(line, message):
                return jsonrpc.UNSOLICITED
            self._depth = 0
        if not isinstance(message, jsonrpc.Rejected) or not isinstance(message.error, ParseError):
            return message
        if line is None or len(line) > _LONGEST_LINE:
            return message
        text = line[:]
        farewell = _farewell(text)
        if farewell is not None:
            return farewell
        self._depth = max(0, _depth_of(text) or 0) if text[0] in b"[{" else 0
        return self._introduced(message)

    def _goes_on(self, line: LongBytes | None, message: jsonrpc.Message | list[jsonrpc.Message]) -> bool:
        if line is None or len(line) > _LONGEST_LINE:
            # Perhaps a tensor in base64: as a rule, the brackets that such a line opens are closed in it.
            return not isinstance(message, jsonrpc.Request)
        text = line[:]
        depth = _depth_of(text)
        if depth is None or not _GOES_ON.match(text):
            return False
        self._depth = max(0, self._depth + depth)
        return True

    def _introduced(self, message: jsonrpc.Rejected) -> jsonrpc.Rejected:
        """Say once on a connection what this socket speaks."""
        data = dict(message.error.data)
        detail = data.pop("detail")
        if self._depth:
            detail += (
                " A JSON value is one line here: send it without line breaks. If it goes on in the lines that follow, "
                "they are not answered."
            )
        if not self._is_introduced:
            self._is_introduced = True
            detail += f" {SPEAKS}, such as {_EXAMPLE}."
        return jsonrpc.Rejected(message.id, ParseError(detail, **data))


def greeting_of(first: bytes) -> Farewell | None:
    """Return the farewell for a connection that begins with these bytes, if no line of ours can begin so."""
    if not first.startswith(_TLS):
        return None
    return Farewell("TLS", _line("TLS", "the socket is local, and its file's permissions say who may connect"))


def _farewell(line: bytes) -> Farewell | None:
    if _HTTP.fullmatch(line):
        body = _line("HTTP", "send the JSON alone, for example with socat or nc -U")
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return Farewell("HTTP", head.encode() + body)
    if _HEADER.match(line):
        return Farewell("headers", _line("headers such as Content-Length", "end each message with a line break"))
    return None


def _line(protocol: str, advice: str) -> bytes:
    detail = f"{SPEAKS}, and not {protocol}: {advice}. The connection is closed."
    return jsonrpc.error_line(ParseError(detail))


def _depth_of(line: bytes) -> int | None:
    """Return how many more brackets a line opens than it closes; None if it is no part of a JSON value."""
    depth = place = 0
    while place < len(line):
        found = _TOKENS.match(line, place)
        if found is None:
            return None
        depth += (found["opens"] is not None) - (found["closes"] is not None)
        place = found.end()
    return depth

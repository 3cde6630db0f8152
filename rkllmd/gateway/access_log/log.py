"""The access log: a line for each request, which says who asked for what, and what became of it.

It has no word of a prompt or an answer, no key, and not the query of an address. Its lines are JSON as those of the
daemon's log, and wait for nobody either; structlog, which makes those, would cost this process 1.5 MB.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Final

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rkllmd.gateway.access_log import record
from rkllmd.gateway.access_log.record import Record
from rkllmd.json_types import Json, JsonObject
from rkllmd.log.writer import LogWriter

# What machines ask every few seconds is not worth a line, as long as the answer is a good one.
_ROUTINE: Final = ("/health", "/ready", "/metrics")
_FAILURES: Final = 400
_SWITCHING: Final = 101
# Of what a client has written.
_MOST_CHARACTERS: Final = 200
_FLUSH_SECONDS: Final = 1.0


class AccessLog:
    """Writes the lines."""

    def __init__(self, descriptor: int = 2) -> None:
        """Write to ``descriptor``: JSON, but for people at a terminal."""
        self._is_terminal = os.isatty(descriptor)
        self._writer = LogWriter(descriptor, lambda count: self._line("log_lines_dropped", count=count))

    def flush(self) -> None:
        """Wait a moment for lines that nobody has read yet."""
        self._writer.flush(_FLUSH_SECONDS)

    def _line(self, event: str, **said: Json) -> None:
        """Write that something has happened; what is None is left out."""
        at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        known = {name: value for name, value in said.items() if value is not None}
        line = orjson.dumps({"event": event, "level": "info", "timestamp": at, **known})
        if self._is_terminal:
            line = " ".join([at, event, *(f"{name}={value}" for name, value in known.items())]).encode()
        self._writer.write(line + b"\n")

    def refused(self, address: str, status: int) -> None:
        """Write that a connection was refused before there was a request that can be read."""
        self._line("refused", status=status, address=address)

    def around(self, app: ASGIApp) -> ASGIApp:
        """Return an application that has a line written for each request to ``app`` when it has ended."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] not in ("http", "websocket"):
                await app(scope, receive, send)
                return
            request = _Request(scope, send)
            try:
                await app(scope, receive, request.send)
                request.has_returned = True
            finally:
                if request.is_worth_a_line:
                    self._line("request", **request.described())

        return serve


class _Request:
    """One that is served: what it was, and how far its answer has come."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.has_returned = False
        self._record: Record = record.begin()
        self._scope = scope
        self._send = send
        self._began_ns = time.monotonic_ns()
        self._status: int | None = None
        self._is_complete = False

    async def send(self, message: Message) -> None:
        """Send a message of the answer."""
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start"):
            self._status = message["status"]
        elif kind == "websocket.accept":
            self._status = _SWITCHING
        await self._send(message)
        if kind in ("http.response.body", "websocket.http.response.body") and not message.get("more_body", False):
            self._is_complete = True

    @property
    def is_worth_a_line(self) -> bool:
        """Return whether it is not one of those that come every few seconds and are answered well."""
        is_routine = self._scope["path"] in _ROUTINE and self._is_complete
        return not is_routine or self._status is None or self._status >= _FAILURES

    def described(self) -> JsonObject:
        """Return what the line says of it."""
        scope, found = self._scope, self._record
        client = scope.get("client")
        return {
            "method": scope.get("method", "GET"),
            "path": _shown(scope.get("raw_path", b"").decode("latin-1") or scope["path"]),
            "status": self._status,
            "ended": self._ended(),
            "error": found.error,
            "ms": round((time.monotonic_ns() - self._began_ns) / 1e6, 1),
            "address": client[0] if client else None,
            "forwarded_for": _shown(dict(scope["headers"]).get(b"x-forwarded-for", b"").decode("latin-1")),
            "key": found.key,
            "model": _shown(found.model or ""),
            "call": _shown(found.call or ""),
            "prompt_tokens": found.prompt_tokens,
            "cached_tokens": found.cached_tokens,
            "generated_tokens": found.generated_tokens,
        }

    def _ended(self) -> str | None:
        """Return how it has ended if its answer is not complete."""
        if self._is_complete or self._status == _SWITCHING:
            return None
        return "hung up" if self.has_returned else "given up"


def _shown(said: str) -> str | None:
    """Return what a client has written so that it can do nothing to a terminal, and is not long."""
    said = said[:_MOST_CHARACTERS]
    return (said if said.isprintable() else ascii(said)[1:-1]) or None

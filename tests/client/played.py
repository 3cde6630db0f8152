"""A daemon that the test plays: what it sends, and what it has received."""

from __future__ import annotations

import contextlib
import json
import socket as stdlib_socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import trio

from rkllmd.client import TrioClient
from rkllmd.client.trio_connection import TrioConnection
from rkllmd.wire.lines import LineBuffer
from tests.daemon import Daemon

PARTIAL = {"text": "a", "token_id": 1, "_callback_state": 0, "seq": 0}
WAITING = {"text": "", "token_id": 1, "_callback_state": 1, "seq": 1}
FINAL = {"text": "", "token_id": 0, "_callback_state": 2, "seq": 2, "finish_reason": "stop"}
SECONDS = 120


def result(call_id: int, value: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call_id, "result": value}


def failure(call_id: int | None, kind: str = "Cancelled", **data: Any) -> dict[str, Any]:
    error = {"code": -32003, "message": "The call was cancelled.", "data": {"kind": kind, **data}}
    return {"jsonrpc": "2.0", "id": call_id, "error": error}


def encoded(*messages: Any) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


class Played:
    """The daemon's end of a plain client's connection; it answers nothing by itself."""

    def __init__(self, connection: stdlib_socket.socket) -> None:
        self.connection = connection
        self._lines = LineBuffer(1 << 30)
        self._waiting: list[Any] = []

    def send(self, *messages: Any) -> None:
        """Send messages."""
        self.connection.sendall(encoded(*messages))

    def answer(self, request: dict[str, Any], *results: Any) -> None:
        """Send results for a request."""
        self.send(*[result(request["id"], value) for value in results])

    def answer_next(self, *results: Any) -> dict[str, Any]:
        """Answer the next request; return it."""
        request = self.request()
        self.answer(request, *results)
        return request

    def restarting(self, milliseconds: int) -> None:
        """Say as the keeper does that nobody reads what comes, and leave."""
        self.send(failure(None, "Restarting", retry_after_ms=milliseconds))
        self.connection.close()

    def received(self) -> list[dict[str, Any]]:
        """Return the requests that have come."""
        return [json.loads(bytes(line)) for line in self._lines.feed(self.connection.recv(1 << 20))]

    def request(self) -> dict[str, Any]:
        """Return the next request."""
        while not self._waiting:
            data = self.connection.recv(1 << 20)
            assert data, "the client has gone"
            self._waiting += [json.loads(bytes(line)) for line in self._lines.feed(data)]
        request: dict[str, Any] = self._waiting.pop(0)
        return request


class Place:
    """Where the played daemons listen, one after another."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._listening = stdlib_socket.socket(stdlib_socket.AF_UNIX)
        self._listening.settimeout(SECONDS)
        self._listening.bind(path)
        self._listening.listen()
        self._open: list[stdlib_socket.socket] = []

    def next(self) -> Played:
        """Return the next connection."""
        connection, _ = self._listening.accept()
        connection.settimeout(SECONDS)
        self._open.append(connection)
        return Played(connection)

    def close(self) -> None:
        """Listen no more."""
        for item in (self._listening, *self._open):
            item.close()


def again(start: Callable[..., Daemon], first: Daemon, **options: Any) -> Daemon:
    """Start another daemon where the first one was."""
    second = start("--socket", first.path, **options)
    second.path = first.path
    return second


def event(number: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "server.event", "params": {"event": "job", "number": number}}


class TrioPlayed:
    """The daemon's end of a trio client's connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._lines = LineBuffer(1 << 30)
        self._requests: list[bytes | bytearray] = []
        self.requests: list[Any] = []

    async def send(self, *messages: Any) -> None:
        """Send messages."""
        await self.stream.send_all(encoded(*messages))

    async def line(self) -> bytes | bytearray:
        """Return the next line that has come."""
        with trio.fail_after(SECONDS):
            while not self._requests:
                self._requests += map(bytes, self._lines.feed(bytes(await self.stream.receive_some(1 << 20))))
        return self._requests.pop(0)

    async def request(self) -> Any:
        """Return the next message that has come."""
        return json.loads(await self.line())

    async def answer(self, *results: Any) -> Any:
        """Answer the next request with these, the last of which is final; return it."""
        request = await self.request()
        self.requests.append(request)
        await self.send(*[result(request["id"], value) for value in results])
        return request

    async def restarting(self, milliseconds: int) -> None:
        """Say as the keeper does that nobody reads what comes, and leave."""
        await self.send(failure(None, "Restarting", retry_after_ms=milliseconds))
        await self.stream.aclose()


@contextlib.asynccontextmanager
async def trio_played() -> AsyncIterator[tuple[TrioClient, TrioPlayed, trio.Nursery]]:
    ours, theirs = trio.socket.socketpair()
    async with trio.SocketStream(ours) as stream, trio.SocketStream(theirs) as daemon, trio.open_nursery() as nursery:
        connection = TrioConnection(stream)
        nursery.start_soon(connection.run)
        yield TrioClient(connection), TrioPlayed(daemon), nursery
        nursery.cancel_scope.cancel()


def is_idle(daemon: Daemon) -> bool:
    with daemon.connect() as wire:
        return bool(wire.ask("server.status")["result"]["state"] == "idle")

"""The Python client: ``Client`` for plain programs, ``open_client`` for trio.

Both hold one connection, over which any number of requests may run; needs nothing but orjson (and trio for the second).

    with Client() as rkllm:
        print(rkllm.call("rkllm.run", {"prompt": "Hello"})["text"])
        for partial in rkllm.stream("rkllm.run_async", {"prompt": "Hello"}):
            print(partial["text"], end="")
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

if TYPE_CHECKING:
    import trio

DEFAULT_SOCKET: Final = "/tmp/rkllm.sock"
_RECEIVE_BYTES: Final = 65_536
# RKLLM_RUN_NORMAL and RKLLM_RUN_WAITING: more will follow.
_UNFINISHED: Final = (0, 1)


def default_socket() -> str:
    """Return the socket that RKLLM_UDS_PATH names, or the default."""
    return os.environ.get("RKLLM_UDS_PATH") or DEFAULT_SOCKET


class CallError(Exception):
    """The daemon answered with an Error. Programs match ``kind``, people read the message."""

    def __init__(self, error: dict[str, Any]) -> None:
        self.code: int = error["code"]
        self.data: dict[str, Any] = error.get("data") or {}
        self.kind: str = self.data.get("kind", "")
        detail = self.data.get("detail")
        super().__init__(f"{error['message']}: {detail}" if detail else error["message"])


class ConnectionLost(Exception):
    """The daemon closed the connection before it had answered."""


def is_partial(message: dict[str, Any]) -> bool:
    """Tell whether a message is a partial result, after which more follow for the same id."""
    result = message.get("result")
    return isinstance(result, dict) and result.get("_callback_state") in _UNFINISHED


def _request(call_id: int, method: str, params: Any, members: dict[str, Any]) -> bytes:
    request = {"jsonrpc": "2.0", "id": call_id, "method": method, **members}
    if params is not None:
        request["params"] = params
    return orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE)


def _result(message: dict[str, Any]) -> Any:
    if "error" in message:
        raise CallError(message["error"])
    return message["result"]


class Client:
    """A blocking client; not for use from several threads at once."""

    def __init__(self, path: str | None = None) -> None:
        """Connect to the socket at ``path``. Raises OSError."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(path or default_socket())
        except OSError:
            self._socket.close()
            raise
        self._rest = b""
        self._lines: list[bytes] = []
        self._ids = itertools.count(1)
        self._early: dict[int, list[dict[str, Any]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; what is still running for this client is aborted."""
        self._socket.close()

    def send(self, method: str, params: Any = None, **members: Any) -> int:
        """Send a request and return its id; ``members`` stand beside "method", such as ``stream="final"``."""
        call_id = next(self._ids)
        self._socket.sendall(_request(call_id, method, params, members))
        return call_id

    def receive(self, call_id: int) -> dict[str, Any]:
        """Return the next message for this id, partial or final; messages for others are kept for them."""
        waiting = self._early.get(call_id)
        if waiting:
            return waiting.pop(0)
        while True:
            while not self._lines:
                self._read()
            message = orjson.loads(self._lines.pop(0))
            if message.get("id") == call_id:
                return dict(message)
            self._early.setdefault(message.get("id"), []).append(message)

    def _read(self) -> None:
        data = self._socket.recv(_RECEIVE_BYTES)  # may be interrupted by Ctrl-C: nothing has been taken out then
        if not data:
            raise ConnectionLost("The daemon closed the connection.")
        *self._lines, self._rest = (self._rest + data).split(b"\n")

    def call(self, method: str, params: Any = None, **members: Any) -> Any:
        """Call a method and return its final result. Raises CallError, ConnectionLost."""
        call_id = self.send(method, params, **members)
        while is_partial(message := self.receive(call_id)):
            pass
        return _result(message)

    def stream(self, method: str, params: Any = None, **members: Any) -> Iterator[dict[str, Any]]:
        """Call a method and yield its partial results and then its final one. Raises CallError, ConnectionLost."""
        yield from self.results(self.send(method, params, **members))

    def results(self, call_id: int) -> Iterator[dict[str, Any]]:
        """Yield the partial results and then the final one of a request sent before."""
        while True:
            message = self.receive(call_id)
            yield _result(message)
            if not is_partial(message):
                return


class TrioClient:
    """A trio client; any number of tasks may call at once."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._ids = itertools.count(1)
        self._waiting: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}
        self._sending = _trio().Lock()
        self._lost = False

    async def call(self, method: str, params: Any = None, **members: Any) -> Any:
        """Call a method and return its final result. Raises CallError, ConnectionLost."""
        results = [result async for result in self.stream(method, params, **members)]
        return results[-1]

    async def stream(self, method: str, params: Any = None, **members: Any) -> AsyncIterator[Any]:
        """Call a method and yield its partial results and then its final one.

        Leaving early, also by cancellation, cancels the call in the daemon. Raises CallError, ConnectionLost.
        """
        trio = _trio()
        if self._lost:
            raise ConnectionLost("The daemon closed the connection.")
        call_id = next(self._ids)
        send, receive = trio.open_memory_channel[dict[str, Any]](float("inf"))
        self._waiting[call_id] = send
        finished = False
        try:
            await self._send(_request(call_id, method, params, members))
            async for message in receive:
                finished = not is_partial(message)
                yield _result(message)
                if finished:
                    return
            finished = True
            raise ConnectionLost("The daemon closed the connection.")
        finally:
            del self._waiting[call_id]
            if not finished:
                with trio.move_on_after(1, shield=True):
                    await self.notify("$/cancelRequest", {"id": call_id})

    async def notify(self, method: str, params: Any = None) -> None:
        """Send a notification: it is never answered."""
        request = {"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params})}
        await self._send(orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE))

    async def _send(self, data: bytes) -> None:
        trio = _trio()
        async with self._sending:
            try:
                await self._stream.send_all(data)
            except trio.BrokenResourceError:
                raise ConnectionLost("The daemon closed the connection.") from None

    async def _receive(self) -> None:
        trio = _trio()
        rest = b""
        try:
            async for data in self._stream:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    message = orjson.loads(line)
                    channel = self._waiting.get(message.get("id"))
                    if channel is not None:
                        channel.send_nowait(message)
        except trio.BrokenResourceError:
            pass
        self._lost = True
        for channel in self._waiting.values():
            channel.close()


def _trio() -> Any:
    import trio  # imported late: the plain client does not need it, and it takes a tenth of a second

    return trio


@asynccontextmanager
async def open_client(path: str | None = None) -> AsyncIterator[TrioClient]:
    """Connect to the daemon for the length of the context. Raises OSError."""
    trio = _trio()
    async with await trio.open_unix_socket(path or default_socket()) as stream, trio.open_nursery() as nursery:
        client = TrioClient(stream)
        nursery.start_soon(client._receive)
        yield client
        nursery.cancel_scope.cancel()

"""A client over HTTP that costs little: one connection that is kept, of whose answers only the events are read."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, Final, Self

import orjson

_RECEIVE_BYTES: Final = 65_536
_DONE: Final = b"[DONE]"


class HttpClient:
    """A connection to ``http://HOST:PORT``."""

    def __init__(self, address: str) -> None:
        """Connect."""
        host, _, port = address.removeprefix("http://").rpartition(":")
        self._head = f"Host: {host}:{port}\r\nContent-Type: application/json\r\n".encode()
        self.socket = socket.create_connection((host, int(port)), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def post(self, path: str, body: Any) -> None:
        """Send a request."""
        data = orjson.dumps(body)
        head = b"POST %s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n" % (path.encode(), self._head, len(data))
        self.socket.sendall(head + data)

    def events(self) -> Iterator[bytes]:
        """Yield the data of the server-sent events of the answer, as they come; comments are passed over."""
        while b"\r\n\r\n" not in self._rest:
            self._receive()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        body = b""
        while chunk := self._chunk():
            *events, body = (body + chunk).split(b"\n\n")
            for event in events:
                data = event.removeprefix(b"data: ")
                if data is not event and data != _DONE:
                    yield data

    def _chunk(self) -> bytes:
        """Return the next chunk, an empty one at the end of the answer."""
        while b"\r\n" not in self._rest:
            self._receive()
        size, _, self._rest = self._rest.partition(b"\r\n")
        length = int(size, 16)
        while len(self._rest) < length + 2:
            self._receive()
        chunk, self._rest = self._rest[:length], self._rest[length + 2 :]
        return chunk

    def _receive(self) -> None:
        data = self.socket.recv(_RECEIVE_BYTES)
        assert data, "the gateway closed the connection"
        self._rest += data

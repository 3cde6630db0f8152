"""HTTP/1.1 as Hypercorn speaks it, where requests may come before their turn, and nothing but HTTP/1.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import h11
import orjson
from hypercorn.events import RawData
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.worker_context import EventWrapper

from rkllmd.gateway.web.bounds import refusals

if TYPE_CHECKING:
    from hypercorn.typing import AppWrapper

    _Sendable = h11.Response | h11.InformationalResponse | h11.Data | h11.EndOfMessage

_CHUNKED, _LENGTH, _FIRST_WITH_CHUNKS = b"transfer-encoding", b"content-length", b"1.1"
# A body that is longer is not copied to stand behind its head.
_TOGETHER_BYTES: Final = 65_536
_HEADERS_TOO_LONG: Final = 431
_TOO_LONG: Final = "The headers of the request are too long: send less in them."
_UNREADABLE: Final = "This can't be read as a request of HTTP/1.1, which has a Host and is encrypted for https alone."


class GoneError(Exception):
    """The client has closed the connection."""


class _Connection(h11.Connection):
    """Takes no request whose end somebody between it and the client may see elsewhere: what follows would be another's.

    RFC 9112, 6.1 and 6.3: with both lengths, or in chunks before HTTP/1.1.
    """

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if _CHUNKED in names and (_LENGTH in names or event.http_version < _FIRST_WITH_CHUNKS):
                raise h11.RemoteProtocolError("it is not certain where the request ends")
        return event


class Http11(H11Protocol):
    """HTTP/1.1 as it is, also where a client would rather change to HTTP/2.

    Hypercorn's HTTP/2 raises errors at a body that goes on after its request was refused, at odd headers and at resets;
    and a client that opens no window would hold its answer for ever.
    """

    def __init__(self, app: AppWrapper, *rest: object) -> None:
        """Serve ``app``; the rest is Hypercorn's."""
        super().__init__(app, *rest)  # type: ignore[arg-type] # it is handed on as it comes
        # Of an answer whose length is known, until its body is there.
        self._head = b""
        self.connection = _Connection(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)
        self.can_read = NextRequest(self)

    async def _check_protocol(self, event: h11.Request) -> None:
        """Stay."""

    async def _send_h11_event(self, event: _Sendable) -> None:
        """Send the head of a whole answer together with its body.

        Between two pieces the gateway could end: a balancer has the status then, and can't ask elsewhere.
        """
        try:
            data = self.connection.send(event) or b""
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        head, self._head = self._head, b""
        if isinstance(event, h11.Response) and any(name == _LENGTH for name, _ in event.headers):
            self._head = data
            return
        if head and len(data) > _TOGETHER_BYTES:
            await self.send(RawData(data=head))
            head = b""
        await self.send(RawData(data=head + data))

    async def _send_error_response(self, status_code: int) -> None:
        """Say what is wrong with what could not be read."""
        refusals.OF_ALL.add(self.client[0] if self.client else "", status_code)
        body = b""
        if self.connection.our_state is h11.IDLE:  # no request was read, so none that wants headers alone
            sentence = _TOO_LONG if status_code == _HEADERS_TOO_LONG else _UNREADABLE
            error = {"message": sentence, "type": "invalid_request_error", "param": None, "code": "RequestError"}
            body = orjson.dumps({"error": error})
        length = (b"content-length", b"%d" % len(body))
        own = self.config.response_headers("h11")
        headers = [(b"content-type", b"application/json"), length, (b"connection", b"close"), *own]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


class NextRequest(EventWrapper):
    """The turn of a request that has come before the one before it was answered."""

    def __init__(self, protocol: Http11) -> None:
        """Begin without such a request."""
        super().__init__()
        self._protocol = protocol

    def take(self, data: bytes) -> None:
        """Take more of what has come."""
        self._protocol.connection.receive_data(data)

    async def wait(self) -> None:
        """Wait, as long as the client is there. Raises GoneError."""
        # The connection takes this as it takes all that its protocol says.
        await self._protocol.send(self)  # type: ignore[arg-type]  # it is no event of Hypercorn's

    async def wait_for_turn(self) -> None:
        """Wait until the answer before it is complete."""
        await super().wait()

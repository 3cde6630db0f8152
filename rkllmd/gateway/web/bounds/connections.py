"""Hypercorn's connections, none of which can end the others.

They speak HTTP/1.1 alone, what goes wrong in one stays there, their number is bounded, and a client that takes nothing
of its answer any more is given up. What the kernel takes at once is sent at once.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, ClassVar, Final

import hypercorn.protocol
import hypercorn.protocol.h11
import hypercorn.trio.run
import orjson
import trio
from hypercorn.events import Closed, RawData, Updated
from hypercorn.trio.tcp_server import TCPServer

from rkllmd.gateway.tokens.passing import Translate, Way, send_now
from rkllmd.gateway.web.bounds import refusals
from rkllmd.gateway.web.bounds.http11 import GoneError, Http11, NextRequest
from rkllmd.gateway.web.bounds.places import FullError, Places
from rkllmd.gateway.web.bounds.unread import Unread

if TYPE_CHECKING:
    from hypercorn.events import Event
    from hypercorn.typing import AppWrapper

    from rkllmd.gateway.web.bounds.websockets import BoundedStream

# With a descriptor for the daemon each, and another while tokens come, as they do for few at once, fewer than the 1024
# that a process may open anywhere.
_MOST: Final = 400
_MOST_OF_ONE: Final = 200
_PIECE: Final = 65_536
# A client that is refused has sent its request by then, or does not get to know why.
_REFUSAL_SECONDS: Final = 1
_FULL: Final = 503
_SENTENCE: Final = "All connections that the gateway may have are in use: come again later."
_BODY: Final = orjson.dumps({"error": {"message": _SENTENCE, "type": "server_error", "param": None, "code": "Full"}})
_REFUSAL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_BODY), _BODY)
)


# Under this name the state of a request's scope has the connection that it came over.
CONNECTION: Final = "rkllmd.connection"


class LoneServer(TCPServer):
    """One connection."""

    places: ClassVar[Places[LoneServer]] = Places(_MOST, _MOST_OF_ONE)
    unread: ClassVar[Unread] = Unread()
    """What waits for clients to take it, in scopes that nothing else cancels."""
    patience_seconds: ClassVar[float] = 120
    """A client that does not take a piece of its answer for so long is given up."""

    _way: Way | None = None
    """By which tokens go to its client at the moment."""
    _is_read = False

    async def run(self) -> None:
        """Serve it. An error that left this would end all connections, and the gateway."""
        address = self._address()
        try:
            leaving = self.places.enter(self, address)
        except FullError:
            await self._refuse(address)
            return
        try:
            if leaving is not None:
                await trio.aclose_forcefully(leaving.stream)
            self.state = {**self.state, CONNECTION: self}
            await super().run()
        except* trio.ClosedResourceError:  # it has left for another one, before it was encrypted
            pass
        except* Exception as group:
            await self.config.log.error("A connection was closed that could not be read: %r", innermost(group))
        finally:
            self.places.leave(self)

    async def protocol_send(self, event: Event | NextRequest) -> None:
        """Send what the protocol has made, or take notice of what it says."""
        if isinstance(event, RawData):
            await self._send(event.data)
            return
        if isinstance(event, NextRequest):
            await self._read_ahead(event)
            return
        if isinstance(event, Updated):
            self.places.mark(self, idle=event.idle)
            if self._is_read:
                return
        await super().protocol_send(event)

    async def _read_data(self) -> None:
        """Read until the client closes the connection, or who comes for its place.

        Hypercorn would keep all that the connection has until its time without a request is over: 15 KB for 75 s,
        however short it was and however many there are.
        """
        try:
            await super()._read_data()
        except GoneError:
            await self.protocol.handle(Closed())
        self._is_read = True
        await self.idle_task.stop()

    async def _read_ahead(self, request: NextRequest) -> None:
        """Read what comes before a request has its turn, at most 64 KiB. Raises GoneError.

        Hypercorn reads nothing then: it would not notice that the client goes, and a whole answer would be made for
        nobody.
        """
        is_gone = False
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                nonlocal is_gone
                left = _PIECE
                while left > 0:
                    try:
                        data = await self.stream.receive_some(left)
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        data = b""
                    if not data:
                        is_gone = True
                        nursery.cancel_scope.cancel()
                        return
                    request.take(bytes(data))
                    left -= len(data)

            nursery.start_soon(read)
            await request.wait_for_turn()
            nursery.cancel_scope.cancel()
        if is_gone:
            raise GoneError

    async def _send(self, data: bytes) -> None:
        """Send, as long as the client takes any of it.

        A lock and a shield for each piece, as Hypercorn has them, cost two turns of the event loop for each token, more
        than all that the gateway does for it: they are for what the kernel has no room for. What has begun is not
        cancelled with who sends it: the next piece would stand in the middle of this one.
        """
        view = memoryview(data)
        if self.sends_at_once:
            view = view[send_now(self.stream.socket.fileno(), data) :]
        if not view:
            return
        async with self.send_lock:
            with trio.CancelScope(shield=True) as scope:
                self.unread.hold(scope, self._address(), len(view))
                try:
                    while view:
                        scope.deadline = trio.current_time() + self.patience_seconds
                        piece = view[:_PIECE]
                        await self.stream.send_all(piece)
                        view = view[len(piece) :]
                        self.unread.take(scope, len(piece))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass
                finally:
                    self.unread.let_go(scope)
            if view:
                await trio.aclose_forcefully(self.stream)
        if view:
            await self.protocol.handle(Closed())

    @property
    def sends_at_once(self) -> bool:
        """Return whether the kernel may be given what is sent: it is not encrypted, and nothing waits to be sent."""
        return isinstance(self.stream, trio.SocketStream) and not self.send_lock.locked()

    async def pass_on(self, source: socket.socket, translate: Translate, idle_seconds: float) -> bytes | None:
        """Send in chunks what ``translate`` makes of what comes from ``source``, until something else comes.

        Return that; None where nothing has come for some seconds. Only while it ``sends_at_once``.
        """
        way = self._way = Way(source, self.stream.socket.fileno(), translate, idle_seconds)
        try:
            await way.carry()
        finally:
            self._way = None
        if way.unsent:
            await self._send(way.unsent)
        return None if way.was_idle and not way.rest else way.rest

    @property
    def is_passing(self) -> bool:
        """Return whether ``pass_on`` goes on."""
        return self._way is not None

    async def _close(self) -> None:
        if self._way is not None:
            self._way.give_up()
        await super()._close()

    def _address(self) -> str:
        stream = self.stream.transport_stream if isinstance(self.stream, trio.SSLStream) else self.stream
        try:
            return str(stream.socket.getpeername()[0])
        except OSError:  # it has gone already
            return ""

    async def _refuse(self, address: str) -> None:
        with trio.move_on_after(_REFUSAL_SECONDS):
            try:
                if isinstance(self.stream, trio.SocketStream):
                    await self.stream.receive_some(_PIECE)
                    await self.stream.send_all(_REFUSAL)
            except trio.BrokenResourceError:
                pass
        refusals.OF_ALL.add(address, _FULL)
        await trio.aclose_forcefully(self.stream)


def innermost(error: BaseException) -> BaseException:
    """Return the first error of the groups with which trio's nurseries wrap what ends them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def stop_sending(seconds: float) -> None:
    """Give up, after this many seconds, whoever does not take what is sent: nothing of it would end."""
    await trio.sleep(seconds)
    LoneServer.unread.give_up()


def _websocket(app: AppWrapper, *rest: object) -> BoundedStream:
    """Make the connection a WebSocket. The first one imports what they need, half a megabyte."""
    from rkllmd.gateway.web.bounds.websockets import BoundedStream

    return BoundedStream(app, *rest)


def use() -> None:
    """Let Hypercorn serve with these connections, and their WebSockets with bounds: it has no setting for that."""
    for module, name, mine in (
        (hypercorn.protocol, "H11Protocol", Http11),
        (hypercorn.protocol.h11, "WSStream", _websocket),
        (hypercorn.trio.run, "TCPServer", LoneServer),
    ):
        setattr(module, name, mine)

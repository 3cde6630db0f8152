"""The trio client: any number of tasks share one connection."""

from __future__ import annotations

import itertools
import math
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from os import PathLike
from typing import TYPE_CHECKING, Any

from rkllmd.client import messages
from rkllmd.client.errors import CallTimeout, ConnectionLost, connect_error, usable_path
from rkllmd.client.messages import Reader, Request, check_keywords, is_partial, result_of, whole

if TYPE_CHECKING:
    import trio


class TrioClient:
    """A trio client; any number of tasks may call at once."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._ids = itertools.count(1)
        self._waiting: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}
        self._events: trio.MemorySendChannel[dict[str, Any]] | None = None
        self._sending = _trio().Lock()
        self._reader = Reader()
        self._lost = False
        self._is_torn = False

    async def call(
        self,
        method: str,
        params: Any = None,
        *,
        fds: Sequence[int] = (),
        timeout: float | None = None,  # noqa: ASYNC109  # the plain client's; the call is cancelled in the daemon
        **members: Any,
    ) -> Any:
        """Call a method and return its final result. Raises CallError, ConnectionLost, CallTimeout.

        ``timeout``: seconds that the whole call may take, its wait for a turn included.
        """
        final = None
        stream = self.stream(method, params, fds=fds, timeout=timeout, **whole(method, params, members))
        async with aclosing(stream) as results:
            async for final in results:  # noqa: B007  # the last is it
                pass
        return final

    def stream(
        self, method: str, params: Any = None, *, fds: Sequence[int] = (), timeout: float | None = None, **members: Any
    ) -> AsyncGenerator[Any, None]:
        """Call a method and yield its partial results and then its final one. Raises as ``call``.

        Leaving early, also by cancellation, cancels the call in the daemon; ``async with aclosing(client.stream(…))``
        makes sure that this happens at once and not when the generator is collected.
        """
        check_keywords(members, timeout)
        return self._run(method, params, fds, timeout, members)

    async def _run(
        self, method: str, params: Any, fds: Sequence[int], seconds: float | None, members: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        trio = _trio()
        if self._lost:
            raise self._reader.lost()
        deadline = math.inf if seconds is None else trio.current_time() + seconds
        call_id = next(self._ids)
        request = Request(call_id, method, params, members, fds)
        send, receive = trio.open_memory_channel[dict[str, Any]](math.inf)
        self._waiting[call_id] = send
        ended = False
        try:
            with trio.CancelScope(deadline=deadline) as scope, suppress(ConnectionLost):
                await self._send(request)  # where it is closed, what the daemon said before is still to be read
            while not ended:
                message = None
                with trio.CancelScope(deadline=deadline) as scope, suppress(trio.EndOfChannel):
                    message = await receive.receive()
                if scope.cancelled_caught:
                    raise CallTimeout(method, seconds or 0)
                if message is None:
                    raise self._reader.lost()
                ended = not is_partial(message)
                yield result_of(message)
        finally:
            del self._waiting[call_id]
            if not ended and not self._lost:
                with suppress(ConnectionLost), trio.move_on_after(1, shield=True):
                    await self.notify("$/cancelRequest", {"id": call_id})

    async def watch(self, *events: str) -> AsyncGenerator[dict[str, Any], None]:
        """Yield what happens from now on: "queue", "load" and "job" events (protocol, section 7), until closed.

        One at a time. Raises CallError, ConnectionLost.
        """
        trio = _trio()
        send, receive = trio.open_memory_channel[dict[str, Any]](math.inf)
        self._events = send
        try:
            await self.call("server.watch", {"events": list(events)})
            async for event in receive:
                yield event
            raise self._reader.lost()
        finally:
            if self._events is send:  # else another watch has taken its place
                self._events = None
                if not self._lost:
                    with suppress(ConnectionLost), trio.move_on_after(1, shield=True):
                        await self.notify("server.watch", {"events": []})

    async def notify(self, method: str, params: Any = None) -> None:
        """Send a notification: it is never answered."""
        await self._send(Request(None, method, params, {}))

    async def _send(self, request: Request) -> None:
        trio = _trio()
        try:
            async with self._sending:
                # A cancelled call may have left half a line, which must not swallow this one.
                data = b"\n" + request.line if self._is_torn else request.line
                self._is_torn = True
                try:
                    sent = await self._stream.socket.sendmsg([data], request.rights) if request.fds else 0
                    await self._stream.send_all(data[sent:])
                except (trio.BrokenResourceError, OSError):
                    raise ConnectionLost from None
                self._is_torn = False
        finally:
            request.close()

    async def _receive(self) -> None:
        with suppress(OSError):
            while True:
                data, ancillary, _, _ = await self._stream.socket.recvmsg(
                    messages.RECEIVE_BYTES, messages.ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
                )
                if not data:
                    break
                for message in self._reader.feed(data, ancillary):
                    if "method" in message:
                        if self._events is not None:
                            self._events.send_nowait(message["params"])
                        continue
                    channel = self._waiting.get(message["id"])
                    if channel is not None:
                        channel.send_nowait(message)
        self._lost = True
        self._reader.close()
        for channel in [*self._waiting.values(), *([self._events] if self._events is not None else [])]:
            channel.close()


def _trio() -> Any:
    import trio  # imported late: the plain client does not need it, and it takes a tenth of a second

    return trio


@asynccontextmanager
async def open_client(path: str | PathLike[str] | None = None) -> AsyncIterator[TrioClient]:
    """Connect to the daemon for the length of the context. Raises ConnectError, which is an OSError."""
    trio = _trio()
    failure: Exception | None = None
    path = usable_path(path)
    try:
        connected = await trio.open_unix_socket(path)
    except OSError as error:
        raise connect_error(error, path) from None
    async with connected as stream, trio.open_nursery() as nursery:
        client = TrioClient(stream)
        nursery.start_soon(client._receive)
        try:
            yield client
        except Exception as error:  # the nursery would wrap a CallError in an ExceptionGroup
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure

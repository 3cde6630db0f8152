"""One connection of the trio client, shared by its tasks until it ends."""

from __future__ import annotations

import math
import socket
from contextlib import suppress
from typing import Final

import trio

from rkllmd.client import messages
from rkllmd.client.arguments import Params
from rkllmd.client.messages import Reader, Request
from rkllmd.client.recovery import Lost
from rkllmd.json_types import JsonObject

# A daemon that does not read must not hold who leaves.
_CANCEL_SECONDS: Final = 1.0


class TrioConnection:
    """A connection, and who waits for what comes over it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        """Take the stream over; ``run`` reads it."""
        self._ended = trio.Event()
        self._stream = stream
        self._waiting: dict[int, trio.MemorySendChannel[JsonObject]] = {}
        self._events: trio.MemorySendChannel[JsonObject] | None = None
        self._watched: trio.MemoryReceiveChannel[JsonObject] | None = None
        self._sending = trio.Lock()
        self._reader = Reader()
        self._left: str | None = None
        self._is_torn = False

    async def run(self) -> None:
        """Give out what comes, until the daemon ends the connection."""
        with suppress(OSError):
            while True:
                data, ancillary, _, _ = await self._stream.socket.recvmsg(
                    messages.RECEIVE_BYTES, messages.ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
                )
                if not data:
                    break
                for message in self._reader.feed(data, ancillary):
                    self._give(message)
        self.close()

    def close(self) -> None:
        """End it, for all who wait for something."""
        self._ended.set()
        self._reader.close()
        self._stream.socket.close()
        for channel in [*self._waiting.values(), *([self._events] if self._events is not None else [])]:
            channel.close()

    def _give(self, message: JsonObject) -> None:
        if "method" not in message:
            channel = self._waiting.get(message["id"])
            if channel is not None:
                channel.send_nowait(message)
        elif self._events is not None:
            self._events.send_nowait(message["params"])

    @property
    def is_lost(self) -> bool:
        """Return whether it has ended."""
        return self._ended.is_set()

    @property
    def left(self) -> str | None:
        """Return what is left there, or was until it ended, as a person would say it; None for nothing."""
        return None if self.lost().is_unread else self._left

    def lost(self, *, was_sent: bool = True) -> Lost:
        """Return what is known of a call that is not answered any more."""
        return self._reader.lost(was_sent=was_sent)

    def expect(self, call_id: int) -> trio.MemoryReceiveChannel[JsonObject]:
        """Return where the messages for this id are going to come; it ends with the connection."""
        send, receive = _channel()
        self._waiting[call_id] = send
        if self.is_lost:
            send.close()
        return receive

    async def receive(self, channel: trio.MemoryReceiveChannel[JsonObject]) -> JsonObject:
        """Return the next message that comes there. Raises Lost where the connection ends before."""
        try:
            return await channel.receive()
        except trio.EndOfChannel:
            raise self.lost() from None

    def forget(self, call_id: int) -> None:
        """Expect nothing for this id any more."""
        del self._waiting[call_id]

    async def cancel(self, call_id: int) -> None:
        """Cancel a call that nobody waits for any more."""
        await self._tell("$/cancelRequest", {"id": call_id})

    def expect_events(self) -> trio.MemoryReceiveChannel[JsonObject]:
        """Return where events are going to come, to whoever has asked for this last."""
        send, receive = _channel()
        self._events, self._watched = send, receive
        if self.is_lost:
            send.close()
        return receive

    async def end_events(self, receive: trio.MemoryReceiveChannel[JsonObject]) -> None:
        """Ask for no more events, unless another watch has taken this one's place."""
        if self._watched is receive:
            self._events = self._watched = None
            await self._tell("server.watch", {"events": []})

    async def _tell(self, method: str, params: Params) -> None:
        """Send a notification that is not worth waiting for long, also while the task is being cancelled."""
        with suppress(Lost), trio.move_on_after(_CANCEL_SECONDS, shield=True):
            if not self.is_lost:
                await self.send(Request(None, method, params, {}))

    async def send(self, request: Request, leaves: str | None = None) -> None:
        """Send a request, which ``leaves`` something with the connection. Raises Lost."""
        try:
            async with self._sending:
                if self.is_lost:
                    raise self.lost(was_sent=False)
                self._left = leaves or self._left
                # A cancelled call may have left half a line, which must not swallow this one.
                data = b"\n" + request.line if self._is_torn else request.line
                self._is_torn = True
                try:
                    sent = await self._stream.socket.sendmsg([data], request.rights) if request.fds else 0
                    await self._stream.send_all(data[sent:])
                except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                    await self._ended.wait()  # what the daemon said before it closed it is still to be read
                    raise self.lost(was_sent=False) from None
                self._is_torn = False
        finally:
            request.close()


def _channel() -> tuple[trio.MemorySendChannel[JsonObject], trio.MemoryReceiveChannel[JsonObject]]:
    """Return the ends of a channel that holds whatever comes: who reads slowly must not keep others from theirs."""
    send, receive = trio.open_memory_channel(math.inf)
    return send, receive

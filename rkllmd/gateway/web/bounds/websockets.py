"""Hypercorn's WebSockets, with a bound for what they hold.

Hypercorn unpacks compressed frames before it looks at their size, goes on collecting a message that it has refused,
lets ten messages of any size wait in each connection, and lets a closed connection wait for its next ping.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import trio
from hypercorn.protocol.events import Request, StreamClosed
from hypercorn.protocol.ws_stream import WSStream
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

from rkllmd.gateway.web.bounds import memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypercorn.protocol.events import Event
    from hypercorn.typing import AppWrapper, ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, Scope

# Messages that wait for the application: this many, and of this many bytes unless it is one alone.
_MOST_WAITING: Final = 8
_MOST_WAITING_BYTES: Final = 65_536
# A client that is refused gets this long to read why, and to close.
_FAREWELL_SECONDS: Final = 5
_EXTENSIONS: Final = b"sec-websocket-extensions"


class BoundedStream(WSStream):
    """One WebSocket. Its messages come as ``bytes``, also those of text; ``account`` is of all of them."""

    account = memory.OF_ALL

    def __init__(self, app: AppWrapper, *rest: object) -> None:
        """Serve ``app``; the rest is Hypercorn's."""
        super().__init__(app, *rest)  # type: ignore[arg-type] # it is handed on as it comes
        self._inner = app
        self.app = self._run_app
        self._message = bytearray()
        # The sizes of what the application has not done with; the first of them it may be working on.
        self._waiting: list[int] = []
        self._has_room = trio.Event()
        self._has_ended = False
        self._is_refused = False
        self._gone = trio.Event()

    async def handle(self, event: Event) -> None:
        """Take what the connection says."""
        if isinstance(event, Request):
            # No extension is offered: what is compressed has no size before it is unpacked.
            headers = [(name, value) for name, value in event.headers if name.lower() != _EXTENSIONS]
            event = replace(event, headers=headers)
        elif isinstance(event, StreamClosed):
            self._gone.set()
            self._forget_message()
            if self._has_ended:  # nobody takes the word that the client has gone
                self.closed = True
        await super().handle(event)

    async def _run_app(
        self,
        scope: Scope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        sync_spawn: Callable[..., object],
        call_soon: Callable[..., object],
    ) -> None:
        is_working = False

        async def receive_next() -> ASGIReceiveEvent:
            nonlocal is_working
            if is_working:
                self._give_back(self._waiting.pop(0))
                self._has_room.set()
            message = await receive()
            is_working = message["type"] == "websocket.receive"
            return message

        try:
            await self._inner(scope, receive_next, send, sync_spawn, call_soon)
        finally:
            self._has_ended = True
            while self._waiting:
                self._give_back(self._waiting.pop())
            self._has_room.set()

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, (TextMessage, BytesMessage)):
                if not self._is_refused:
                    await self._take(event)
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                if self.connection.state == ConnectionState.REMOTE_CLOSING:
                    await self._send_wsproto_event(event.response())
                elif self.connection.state == ConnectionState.OPEN:  # it breaks the protocol
                    await self._refuse(CloseReason(event.code), event.reason or "")
                    continue
                await self.send(StreamClosed(stream_id=self.stream_id))

    async def _take(self, event: TextMessage | BytesMessage) -> None:
        data = event.data.encode() if isinstance(event.data, str) else event.data
        if len(self._message) + len(data) > self.config.websocket_max_message_size:
            reason = f"A message has at most {self.config.websocket_max_message_size} bytes: send less at once."
            await self._refuse(CloseReason.MESSAGE_TOO_BIG, reason)
            return
        if not self.account.take(memory.message_cost(len(data))):
            await self._refuse(CloseReason.TRY_AGAIN_LATER, "Too much is being sent at once: come again later.")
            return
        self._message += data
        if not event.message_finished:
            return
        while not self._has_ended and not self._may_wait(len(self._message)):
            self._has_room = trio.Event()
            await self._has_room.wait()
        if self._has_ended or self.closed:
            self._forget_message()
            return
        message, self._message = bytes(self._message), bytearray()
        self._waiting.append(len(message))
        assert self.app_put is not None, "it was asked before there were messages"
        await self.app_put({"type": "websocket.receive", "bytes": message, "text": None})

    def _may_wait(self, size: int) -> bool:
        if not self._waiting:
            return True
        return len(self._waiting) < _MOST_WAITING and sum(self._waiting) + size <= _MOST_WAITING_BYTES

    async def _refuse(self, code: CloseReason, reason: str) -> None:
        """Say why no more is taken, and close the connection when the client does, or soon after."""
        self._is_refused = True
        self._forget_message()
        self.task_group.spawn(self._close_soon)
        await self._send_wsproto_event(CloseConnection(code=code, reason=reason))

    async def _close_soon(self) -> None:
        with trio.move_on_after(_FAREWELL_SECONDS):
            await self._gone.wait()
        if not self.closed:
            await self.send(StreamClosed(stream_id=self.stream_id))

    def _forget_message(self) -> None:
        self._give_back(len(self._message))
        self._message = bytearray()

    def _give_back(self, size: int) -> None:
        self.account.give_back(memory.message_cost(size))

    async def _send_pings(self) -> None:
        while not self.closed:
            await self._send_wsproto_event(Ping())
            with trio.move_on_after(self.config.websocket_ping_interval or 0):
                await self._gone.wait()

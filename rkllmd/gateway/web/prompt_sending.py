"""Hypercorn's connections, which send at once what the kernel takes at once.

Hypercorn takes a lock and shields each piece, as it has to where a client reads slowly. That costs two turns of the
event loop for each token, more than all that the gateway does for it. Where nobody else is sending and the kernel has
room, neither is needed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypercorn.trio.run
import trio
from hypercorn.events import RawData
from hypercorn.trio.tcp_server import TCPServer

if TYPE_CHECKING:
    from hypercorn.events import Event


class PromptServer(TCPServer):
    """One connection."""

    async def protocol_send(self, event: Event) -> None:
        """Send what the protocol has made."""
        if isinstance(event, RawData) and isinstance(self.stream, trio.SocketStream) and not self.send_lock.locked():
            sent = _send_now(self.stream.socket.fileno(), event.data)
            if sent == len(event.data):
                return
            event = RawData(data=event.data[sent:], address=event.address)
        if isinstance(event, RawData):
            await self.send_rest(event)
        else:
            await super().protocol_send(event)

    async def send_rest(self, event: RawData) -> None:
        """Send what the kernel has not taken at once."""
        await super().protocol_send(event)


def _send_now(descriptor: int, data: bytes) -> int:
    """Return how many bytes were sent without waiting; none where the client has gone, which Hypercorn finds out."""
    try:
        return os.write(descriptor, data)
    except OSError:
        return 0


def use() -> None:
    """Let Hypercorn serve with these connections: it has no setting for that."""
    setattr(hypercorn.trio.run, "TCPServer", PromptServer)  # noqa: B010 - mypy is right to refuse the plain assignment

"""A client of an ASGI application, without a server between both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import orjson
import trio
from starlette.types import ASGIApp


class Client:
    """One request; ``sent`` is what it has been sent."""

    def __init__(self, app: ASGIApp, body: Any = None, kind: str = "http", **scope: Any) -> None:
        """``body`` is the JSON of a request; without, messages are given by ``give``."""
        self.sent: list[dict[str, Any]] = []
        self._app = app
        self._scope = {"type": kind, "headers": [], "method": "POST", "path": "/", "subprotocols": [], **scope}
        self._give, self._take = trio.open_memory_channel[dict[str, Any]](100)
        self._arrived = trio.Event()
        if body is not None:
            self.give({"type": "http.request", "body": orjson.dumps(body)})

    def give(self, message: dict[str, Any]) -> Self:
        """Let this message come next."""
        self._give.send_nowait(message)
        return self

    def hang_up(self) -> None:
        """Leave."""
        self.give({"type": f"{self._scope['type']}.disconnect"})

    async def ask(self) -> None:
        """Run the application until it has answered."""
        await self._app(self._scope, self._take.receive, self.send)

    async def send(self, message: Any) -> None:
        """Take a message of the application's."""
        self.sent.append(message)
        self._arrived.set()
        await trio.lowlevel.checkpoint()

    async def wait_for(self, seen: Callable[[], bool]) -> None:
        """Wait until this is true of what was sent."""
        while not seen():
            await self._arrived.wait()
            self._arrived = trio.Event()

    @property
    def text(self) -> str:
        """Return the bodies that were sent."""
        return b"".join(message.get("body", b"") for message in self.sent).decode()

"""What a request holds of the memory for all while it is served, and the end of one that is refused unread."""

from __future__ import annotations

from typing import Final

import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.web.bounds import memory

_AGAIN_MS: Final = 1000


class BoundedRequests:
    """An ASGI application before another one, whose reading of a body raises Failure where there is no memory."""

    def __init__(self, app: ASGIApp, account: memory.Memory = memory.OF_ALL) -> None:
        """Stand before ``app``."""
        self._app = app
        self._account = account

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. WebSockets count for themselves."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        held = 0
        is_whole = False

        async def receive_counted() -> Message:
            nonlocal held, is_whole
            message = await receive()
            if message["type"] == "http.request":
                cost = memory.json_cost(message.get("body", b""))
                self._take(held, cost)
                held += cost
                is_whole = not message.get("more_body", False)
            return message

        async def send_last(message: Message) -> None:
            if is_whole or message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            # Hypercorn waits for room in its queue to say that the connection is closed: nobody else would make any.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_drain, receive)
                await send(message)
                nursery.cancel_scope.cancel()

        try:
            await self._app(scope, receive_counted, send_last)
        finally:
            self._account.give_back(held)

    def _take(self, held: int, cost: int) -> None:
        if held + cost > self._account.most_of_one:
            raise Failure(413, "FrameTooLarge", "The request has too many values: send less at once.")
        if not self._account.take(cost):
            sentence = "Other requests hold all the memory that there is for them: come again later."
            raise Failure(503, "OutOfMemory", sentence, retry_after_ms=_AGAIN_MS, again=True)


async def _drain(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

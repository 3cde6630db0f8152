"""A port for a balancer's agent checks: whoever connects is told one line, whatever it sends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from rkllmd.gateway.boards import weight
from rkllmd.gateway.failures import Failure
from rkllmd.json_types import Json

# Several balancers, and whoever else comes, cost the daemon no more than one that asks this often.
_FRESH_SECONDS: Final = 0.25
# A reader that takes no line in this time is none.
_SECONDS: Final = 3.0
_MOST_AT_ONCE: Final = 32
_METHODS: Final = ("server.status", "server.queue", "server.metrics")


class Agent:
    """Answers; ``ask`` returns what the daemon answers to methods without parameters, or raises Failure."""

    def __init__(self, ask: Callable[..., Awaitable[list[Json]]]) -> None:
        """Begin to answer for a gateway that is not to end."""
        self._ask = ask
        self._is_ending = False
        self._line = ""
        self._asked = -_FRESH_SECONDS
        self._asking = trio.Lock()
        self._places = trio.CapacityLimiter(_MOST_AT_ONCE)

    def end(self) -> None:
        """Tell from now on that this board is taken out."""
        self._is_ending = True

    async def answer(self, stream: trio.abc.Stream) -> None:
        """Tell one connection its line, and close it."""
        async with stream, self._places:
            with trio.move_on_after(_SECONDS):
                try:
                    await stream.send_all((weight.ENDING if self._is_ending else await self._current()).encode())
                except trio.BrokenResourceError:
                    return

    async def _current(self) -> str:
        async with self._asking:
            if trio.current_time() - self._asked >= _FRESH_SECONDS:
                self._line = await self._fresh()
                self._asked = trio.current_time()
            return self._line

    async def _fresh(self) -> str:
        try:
            status, queue, metrics = await self._ask(*_METHODS)
        except Failure as failure:
            return weight.down(failure.kind)
        return weight.line(status, queue, metrics["families"])


async def listen(addresses: Sequence[str]) -> list[trio.SocketListener]:
    """Return listeners at these addresses (``host:port``). Raises OSError if one can't be had."""
    listeners = []
    for address in addresses:
        host, _, port = address.rpartition(":")
        listeners += await trio.open_tcp_listeners(int(port), host=host.strip("[]"))
    return listeners

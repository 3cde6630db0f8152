"""Hypercorn's connections, none of which can end the others: HTTP/1.1 alone, and what goes wrong in one stays there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypercorn.protocol
import hypercorn.trio.run
from hypercorn.protocol.h11 import H11Protocol

from rkllmd.gateway.web.prompt_sending import PromptServer

if TYPE_CHECKING:
    import h11


class Http11(H11Protocol):
    """HTTP/1.1 as it is, also where a client would rather change to HTTP/2.

    Hypercorn's HTTP/2 raises errors at a body that goes on after its request was refused, at odd headers and at resets;
    and a client that opens no window would hold its answer for ever.
    """

    async def _check_protocol(self, event: h11.Request) -> None:
        """Stay."""


class LoneServer(PromptServer):
    """One connection."""

    async def run(self) -> None:
        """Serve it. An error that left this would end all connections, and the gateway."""
        try:
            await super().run()
        except* Exception as group:
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            await self.config.log.error("A connection was closed that could not be read: %r", error)


def use() -> None:
    """Let Hypercorn serve with these connections: it has no setting for that."""
    for module, name, mine in (
        (hypercorn.protocol, "H11Protocol", Http11),
        (hypercorn.trio.run, "TCPServer", LoneServer),
    ):
        setattr(module, name, mine)

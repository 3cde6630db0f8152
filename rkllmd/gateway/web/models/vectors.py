"""Requests for texts as vectors."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from rkllmd.client import ClientError
from rkllmd.gateway.embeddings.protocol import VectorProtocol
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.upstream.vectors import vectors
from rkllmd.gateway.web import body
from rkllmd.gateway.web.answers import answer_failure, answer_json
from rkllmd.gateway.web.body import GoneError
from rkllmd.gateway.web.hang_up import unless_gone


@dataclass(frozen=True, slots=True)
class VectorEndpoint:
    """An ASGI application that answers the requests of one protocol."""

    upstream: Upstream
    protocol: VectorProtocol

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            wanted = self.protocol.read(await body.read_json(scope, receive))
            async with self.upstream.connection() as connection:
                found = await unless_gone(receive, lambda: vectors(self.upstream, connection, wanted))
            response = answer_json(self.protocol.answer(wanted, found))
        except GoneError:
            return
        except (Failure, WrongField, ClientError) as error:
            response = answer_failure(error, self.protocol.error)
        await response(scope, receive, send)

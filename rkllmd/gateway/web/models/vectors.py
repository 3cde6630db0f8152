"""Requests for texts as vectors."""

from __future__ import annotations

from rkllmd.gateway.embeddings.protocol import VectorProtocol, WantedVectors
from rkllmd.gateway.upstream.connection import Connection
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.upstream.vectors import vectors
from rkllmd.gateway.web.calls import CallEndpoint
from rkllmd.json_types import JsonObject


def vector_endpoint(upstream: Upstream, protocol: VectorProtocol) -> CallEndpoint[WantedVectors]:
    """Return an endpoint that answers the requests of one protocol."""

    async def answer(connection: Connection, wanted: WantedVectors) -> JsonObject:
        return protocol.answer(wanted, await vectors(upstream, connection, wanted))

    return CallEndpoint(upstream, protocol.read, answer, protocol.error)

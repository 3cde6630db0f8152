"""Requests for texts as vectors, some of which say how long the model is to stay."""

from __future__ import annotations

from rkllmd.gateway.embeddings.protocol import VectorProtocol, Vectors, WantedVectors
from rkllmd.gateway.run import Residence
from rkllmd.gateway.upstream.connection import Connection
from rkllmd.gateway.upstream.residence import Move, leave
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.upstream.vectors import vectors
from rkllmd.gateway.web.calls import CallEndpoint
from rkllmd.json_types import JsonObject


def vector_endpoint(upstream: Upstream, protocol: VectorProtocol) -> CallEndpoint[WantedVectors]:
    """Return an endpoint that answers the requests of one protocol."""

    async def answer(connection: Connection, wanted: WantedVectors) -> JsonObject:
        if not wanted.texts:
            residence = Residence.UNLOADED if wanted.leaves else Residence.LOADED
            model, _ = await Move(connection, wanted.model, residence).whole()
            return protocol.answer(wanted, Vectors(model.name, [], 0))
        found = protocol.answer(wanted, await vectors(upstream, connection, wanted))
        if wanted.leaves:
            await leave(connection, wanted.model)
        return found

    return CallEndpoint(upstream, protocol.read, answer, protocol.error)

"""Requests for texts as vectors: a run of the model for each, in its turn among those of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.types import Receive, Scope, Send

from rkllmd.client import CallError, ClientError
from rkllmd.gateway import failures
from rkllmd.gateway.embeddings.pooling import vector_of
from rkllmd.gateway.embeddings.protocol import VectorProtocol, Vectors, WantedVectors, check_dimensions
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.models import ServedModel
from rkllmd.gateway.openai.shape import prompt_tokens
from rkllmd.gateway.run import Wanted
from rkllmd.gateway.upstream.connection import Connection
from rkllmd.gateway.upstream.run import Run
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.web import body
from rkllmd.gateway.web.answers import answer_json
from rkllmd.gateway.web.body import GoneError
from rkllmd.gateway.web.hang_up import unless_gone
from rkllmd.json_types import JsonObject

_HIDDEN: Final = "RKLLM_INFER_GET_LAST_HIDDEN_LAYER"
_NOT_SUPPORTED: Final = "NotSupported"


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
                found = await unless_gone(receive, lambda: self._vectors(connection, wanted))
            response = answer_json(self.protocol.answer(wanted, found))
        except GoneError:
            return
        except (Failure, WrongField, ClientError) as error:
            failure = failures.of(error)
            response = answer_json(self.protocol.error(failure), failure.status, failure.headers)
        await response(scope, receive, send)

    async def _vectors(self, connection: Connection, wanted: WantedVectors) -> Vectors:
        vectors, tokens, name = [], 0, ""
        for text in wanted.texts:
            model, result = await self._run(connection, wanted.model, {"prompt": text, "mode": _HIDDEN})
            vector = vector_of(result, model.pooling)
            check_dimensions(wanted, vector)
            vectors.append(vector)
            tokens += prompt_tokens(result)
            name = model.name
        return Vectors(name, vectors, tokens)

    async def _run(
        self, connection: Connection, model: str | None, params: JsonObject
    ) -> tuple[ServedModel, JsonObject]:
        """Run without a chat template, where the runtime can do that for this model."""
        try:
            bare = Wanted(model, {**params, "bare": True})
            return await Run(self.upstream, connection, bare, "rkllm.run", stream="final").whole()
        except CallError as error:
            if error.kind != _NOT_SUPPORTED:
                raise
        return await Run(self.upstream, connection, Wanted(model, params), "rkllm.run", stream="final").whole()

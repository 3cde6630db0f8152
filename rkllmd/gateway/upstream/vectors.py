"""Texts as vectors: a run of the model for each, in its turn among those of others."""

from __future__ import annotations

from typing import Final

from rkllmd.client import CallError
from rkllmd.gateway.embeddings.pooling import vector_of
from rkllmd.gateway.embeddings.protocol import Vectors, WantedVectors, check_dimensions
from rkllmd.gateway.models import ServedModel
from rkllmd.gateway.openai.shape import prompt_tokens
from rkllmd.gateway.run import Wanted
from rkllmd.gateway.upstream.connection import Connection
from rkllmd.gateway.upstream.run import Run
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.json_types import JsonObject

_HIDDEN: Final = "RKLLM_INFER_GET_LAST_HIDDEN_LAYER"
_NOT_SUPPORTED: Final = "NotSupported"


async def vectors(upstream: Upstream, connection: Connection, wanted: WantedVectors) -> Vectors:
    """Return a vector for each text. Raises Failure, WrongField, ClientError."""
    found, tokens, name = [], 0, ""
    for text in wanted.texts:
        model, result = await _run(upstream, connection, wanted.model, {"prompt": text, "mode": _HIDDEN})
        vector = vector_of(result, model.pooling)
        check_dimensions(wanted, vector)
        found.append(vector)
        tokens += prompt_tokens(result)
        name = model.name
    return Vectors(name, found, tokens)


async def _run(
    upstream: Upstream, connection: Connection, model: str | None, params: JsonObject
) -> tuple[ServedModel, JsonObject]:
    """Run without a chat template, where the runtime can do that for this model."""
    try:
        bare = Wanted(model, {**params, "bare": True})
        return await Run(upstream, connection, bare, "rkllm.run", stream="final").whole()
    except CallError as error:
        if error.kind != _NOT_SUPPORTED:
            raise
    return await Run(upstream, connection, Wanted(model, params), "rkllm.run", stream="final").whole()

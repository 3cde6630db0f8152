"""/v1/embeddings."""

from __future__ import annotations

import base64
import sys
from array import array
from typing import Final

from rkllmd.gateway.embeddings.protocol import VectorProtocol, Vectors, WantedVectors, take_texts
from rkllmd.gateway.fields import Fields
from rkllmd.gateway.openai import shape
from rkllmd.json_types import Json, JsonObject


def read(body: Json) -> WantedVectors:
    """Return the request. Raises WrongField for what is wrong or can't be done."""
    fields = Fields(body)
    texts = take_texts(fields, "input")
    encoding = fields.choice("encoding_format", ("float", "base64"))
    dimensions = fields.integer("dimensions", 1)
    model = fields.text("model")
    fields.without_effect(("user",))
    fields.end()
    return WantedVectors(model, texts, dimensions, encoding == "base64", names=fields.names)


def answer(wanted: WantedVectors, found: Vectors) -> JsonObject:
    """Return the vectors as OpenAI has them; base64 is that of float32 in little-endian order."""
    data: list[Json] = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if wanted.is_base64 else vector.tolist()}
        for index, vector in enumerate(found.vectors)
    ]
    usage = {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
    return {"object": "list", "data": data, "model": found.model, "usage": usage}


def _base64(vector: array[float]) -> str:
    if sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()


EMBEDDINGS: Final = VectorProtocol(read, answer, shape.error_body)

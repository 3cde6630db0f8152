"""/api/embed, and /api/embeddings, which is older and has one text."""

from __future__ import annotations

import time
from typing import Final

from rkllmd.gateway.embeddings.protocol import VectorProtocol, Vectors, WantedVectors, take_texts
from rkllmd.gateway.fields import Fields
from rkllmd.gateway.ollama import shape
from rkllmd.gateway.ollama.run_request import LOADING
from rkllmd.json_types import Json, JsonObject

# A text that is too long is refused, whatever "truncate" says.
_WITHOUT_EFFECT: Final = ("keep_alive", "truncate")


def read_embed(body: Json) -> WantedVectors:
    """Return a request for /api/embed. Raises WrongField for what is wrong or can't be done."""
    fields = Fields(body)
    texts = take_texts(fields, "input")
    dimensions = fields.integer("dimensions", 1)
    return WantedVectors(_end(fields), texts, dimensions)


def read_embeddings(body: Json) -> WantedVectors:
    """Return a request for /api/embeddings. Raises WrongField."""
    fields = Fields(body)
    prompt = fields.text("prompt")
    if not prompt:
        raise fields.wrong("prompt", "is missing: give a text that is not empty.")
    return WantedVectors(_end(fields), [prompt])


def _end(fields: Fields) -> str | None:
    """Take the rest of both requests; return the model's name."""
    options = fields.inner("options")
    options.without_effect(LOADING)
    options.end()
    model = fields.text("model")
    fields.without_effect(_WITHOUT_EFFECT)
    fields.end()
    return model


def answer_embed(wanted: WantedVectors, found: Vectors) -> JsonObject:
    """Return the vectors; durations are whole nanoseconds."""
    return {
        "model": found.model,
        "embeddings": [vector.tolist() for vector in found.vectors],
        "total_duration": time.monotonic_ns() - wanted.read_at_ns,
        "load_duration": 0,
        "prompt_eval_count": found.tokens,
    }


def answer_embeddings(wanted: WantedVectors, found: Vectors) -> JsonObject:
    """Return the only vector."""
    return {"embedding": found.vectors[0].tolist()}


EMBED: Final = VectorProtocol(read_embed, answer_embed, shape.error_body)
EMBEDDINGS: Final = VectorProtocol(read_embeddings, answer_embeddings, shape.error_body)

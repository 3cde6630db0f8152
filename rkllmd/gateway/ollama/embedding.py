"""/api/embed, and /api/embeddings, which is older and has one text."""

from __future__ import annotations

import time
from typing import Final

from rkllmd.gateway import sampling
from rkllmd.gateway.embeddings.protocol import VectorProtocol, Vectors, WantedVectors, take_texts
from rkllmd.gateway.fields import Fields
from rkllmd.gateway.ollama import memory, shape
from rkllmd.json_types import Json, JsonObject

_OF_ANSWERS: Final = ("num_predict", "stop", "repeat_last_n", "penalize_newline")


def read_embed(body: Json) -> WantedVectors:
    """Return a request for /api/embed. Raises WrongField for what is wrong or can't be done."""
    fields = Fields(body)
    texts = take_texts(fields, "input") if body.get("input") not in (None, "", []) else []
    fields.without_effect(("input",))
    return _finish(fields, texts, fields.integer("dimensions", 1))


def read_embeddings(body: Json) -> WantedVectors:
    """Return a request for /api/embeddings. Raises WrongField."""
    fields = Fields(body)
    prompt = fields.text("prompt")
    fields.becomes("prompt", "texts[0]")
    return _finish(fields, [prompt] if prompt else [])


def _finish(fields: Fields, texts: list[str], dimensions: int | None = None) -> WantedVectors:
    """Take the rest of both requests. Without texts, they ask for the model's place in memory alone."""
    options = fields.inner("options")
    memory.take_loading(options)
    # Clients have one set of options for all that they ask; a text is read, and nothing is written.
    sampling.take_without_effect(options)
    options.without_effect(_OF_ANSWERS)
    options.end()
    model = fields.text("model")
    leaves = memory.take_leaves(fields)
    fields.without_effect(("truncate",))  # a text that is too long is refused
    fields.end()
    return WantedVectors(model, texts, dimensions, leaves=leaves, names=fields.names)


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
    """Return the only vector, empty where there was no text."""
    return {"embedding": found.vectors[0].tolist() if found.vectors else []}


EMBED: Final = VectorProtocol(read_embed, answer_embed, shape.error_body)
EMBEDDINGS: Final = VectorProtocol(read_embeddings, answer_embeddings, shape.error_body)

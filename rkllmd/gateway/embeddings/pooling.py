"""A model's hidden states, a row for each token, as one vector of length 1."""

from __future__ import annotations

import base64
import math
import sys
from array import array
from typing import Final

from rkllmd.gateway.failures import Failure
from rkllmd.json_types import JsonObject

# The last token of a model that reads from left to right has seen all others; so it is where nothing else is declared.
_DEFAULT: Final = "last"


def vectors_of(result: JsonObject, pooling: str | None, n_batch: int = 1) -> list[array[float]]:
    """Return the vector (float32) of each entry of a run in the mode RKLLM_INFER_GET_LAST_HIDDEN_LAYER.

    ``pooling``: ``mean`` of all tokens, ``cls`` (the first one), or ``last``. Raises Failure for a result without rows.
    """
    found = result.get("last_hidden_layer")
    layers: list[JsonObject] = found if isinstance(found, list) else [] if found is None else [found]
    if len(layers) < n_batch:
        raise Failure(400, "NotSupported", "This model gives no hidden states to make embeddings from.", "model")
    # Those of a single input may come in several pieces.
    entries = [layers] if n_batch == 1 else [[layer] for layer in layers]
    return [_vector(pieces, pooling) for pieces in entries]


def _vector(pieces: list[JsonObject], pooling: str | None) -> array[float]:
    width = int(pieces[0]["embd_size"])
    numbers = array("f")
    for piece in pieces:
        numbers.frombytes(base64.b64decode(piece["hidden_states"]["data"]))
    if sys.byteorder == "big":
        numbers.byteswap()
    return _normalised(_pooled(numbers, width, pooling or _DEFAULT))


def _pooled(numbers: array[float], width: int, pooling: str) -> array[float]:
    if pooling == "cls":
        return numbers[:width]
    if pooling == "last":
        return numbers[-width:]
    return array("f", (math.fsum(numbers[column::width]) for column in range(width)))


def _normalised(vector: array[float]) -> array[float]:
    length = math.hypot(*vector)
    if not math.isfinite(length):
        raise Failure(500, "RuntimeError", "The model gave an embedding that is not finite: load the model again.")
    return vector if length == 0 else array("f", (number / length for number in vector))

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


def vector_of(result: JsonObject, pooling: str | None) -> array[float]:
    """Return the vector (float32) for the final result of a run in the mode RKLLM_INFER_GET_LAST_HIDDEN_LAYER.

    ``pooling``: ``mean`` of all tokens, ``cls`` (the first one), or ``last``. Raises Failure for a result without rows.
    """
    layer = result.get("last_hidden_layer")
    if layer is None:
        raise Failure(400, "NotSupported", "This model gives no hidden states, of which embeddings are made.", "model")
    width = int(layer["embd_size"])
    numbers = array("f")
    numbers.frombytes(base64.b64decode(layer["hidden_states"]["data"]))
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
        raise Failure(500, "RuntimeError", "The model gave numbers without end: load it again.")
    return vector if length == 0 else array("f", (number / length for number in vector))

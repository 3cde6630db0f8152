"""What clients that want texts as vectors ask for, and what they get, in any protocol."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import Fields, Names, WrongField
from rkllmd.json_types import Json, JsonObject

# Each is a run of the model, in its turn.
MOST_TEXTS: Final = 2048


@dataclass(frozen=True, slots=True)
class WantedVectors:
    """What a client wants: a vector for each of the ``texts``. ``dimensions``: how many numbers each has to have.

    Where there are no texts, the model is to be loaded, or with ``leaves`` unloaded.
    """

    model: str | None
    texts: Sequence[str]
    dimensions: int | None = None
    is_base64: bool = False
    # Whether the model is to leave memory after the answer.
    leaves: bool = False
    # Of which field each of them was made: as ``texts[0]``.
    names: Names = field(default_factory=Names, compare=False)
    # By the monotonic clock.
    read_at_ns: int = field(default_factory=time.monotonic_ns, compare=False)


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors (float32, of length 1) in the order of the texts, and of how many tokens the texts were together."""

    model: str
    vectors: Sequence[array[float]]
    tokens: int


@dataclass(frozen=True, slots=True)
class VectorProtocol:
    """A protocol of clients: how a request is read, how the answer and an error look. ``read`` raises WrongField."""

    read: Callable[[Json], WantedVectors]
    answer: Callable[[WantedVectors, Vectors], JsonObject]
    error: Callable[[Failure], JsonObject]


def take_texts(fields: Fields, name: str) -> list[str]:
    """Take one text or several. Raises WrongField, also for token ids."""
    given = fields.any(name)
    if given is None:
        raise fields.wrong(name, "is missing: give a text, or an array of texts.")
    texts = given if isinstance(given, list) else [given]
    if any(isinstance(item, int | list) for item in texts):
        raise fields.wrong(
            name,
            "has token ids, which mean other words to this model: send texts (LangChain: "
            "check_embedding_ctx_length=False).",
        )
    if not texts or len(texts) > MOST_TEXTS:
        raise fields.wrong(name, f"must be 1 to {MOST_TEXTS} texts: it has {len(texts)}.")
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text:
            where = f"{name}[{index}]" if isinstance(given, list) else name
            raise fields.wrong(where, "must be a text that is not empty.")
    fields.becomes(name, "texts" if isinstance(given, list) else "texts[0]")
    return texts


def check_dimensions(wanted: WantedVectors, vector: array[float]) -> None:
    """Refuse another number of dimensions than the model's. Raises WrongField."""
    if wanted.dimensions not in (None, len(vector)):
        raise WrongField("dimensions", f"dimensions must be left out or {len(vector)}: this model has no other.")

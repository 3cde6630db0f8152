"""How tokens are chosen: a request's fields as the daemon's ``sampling_params``."""

from __future__ import annotations

from typing import Final

from rkllmd.gateway.fields import Fields
from rkllmd.json_types import Json, JsonObject

# How many seeds the daemon has, from 0; those of people's clients may have 64 bits and a sign.
SEEDS: Final = 2**32 - 1
_NUMBERS: Final = ("temperature", "top_p", "repeat_penalty", "mirostat_tau", "mirostat_eta")
_WHOLE: Final = ("top_k", "mirostat")
# 0 is no penalty, which a runtime without sampling of its own for each run has anyway.
_PENALTIES: Final = ("presence_penalty", "frequency_penalty")
# Of those that cut unlikely tokens off, only top_p and top_k are the runtime's.
_NEUTRAL: Final[dict[str, tuple[Json, ...]]] = {"min_p": (0, 0.0), "typical_p": (1, 1.0), "tfs_z": (1, 1.0)}
# Ollama's and llama.cpp's clients say so that each answer is to have another seed, as where none is given.
_ANY_SEED: Final = -1


def take(*places: Fields) -> JsonObject:
    """Take the fields that say how tokens are chosen; return the parameters of a run that they are.

    ``places``: where they may stand; what the last one says counts.
    """
    found: JsonObject = {}
    for fields in places:
        found |= _found(fields)
    seed = found.pop("seed", _ANY_SEED)
    found = {name: value for name, value in found.items() if value or name not in _PENALTIES}
    if found.get("temperature") == 0:  # always the likeliest token
        found["top_k"] = 1
        del found["temperature"]
    params: JsonObject = {"sampling_params": found} if found else {}
    if seed != _ANY_SEED:
        params["seed"] = seed % SEEDS  # the same one is the same again
    return params


def take_without_effect(fields: Fields) -> None:
    """Take the same fields where no token is chosen."""
    fields.without_effect((*_NUMBERS, *_PENALTIES, *_WHOLE, *_NEUTRAL, "seed"))


def _found(fields: Fields) -> JsonObject:
    found: JsonObject = {name: fields.number(name) for name in (*_NUMBERS, *_PENALTIES)}
    found |= {name: fields.integer(name) for name in (*_WHOLE, "seed")}
    fields.neutral(_NEUTRAL)
    found = {name: value for name, value in found.items() if value is not None}
    for name in found:
        fields.becomes(name, "seed" if name == "seed" else f"sampling_params.{name}")
    return found

"""How tokens are chosen: a request's fields as the daemon's ``sampling_params``."""

from __future__ import annotations

from typing import Final

from rkllmd.gateway.fields import Fields
from rkllmd.json_types import JsonObject

# How many seeds the daemon has, from 0; those of people's clients may have 64 bits and a sign.
SEEDS: Final = 2**32 - 1
_NUMBERS: Final = ("temperature", "top_p", "repeat_penalty", "mirostat_tau", "mirostat_eta")
_WHOLE: Final = ("top_k", "mirostat")
# 0 is no penalty, which a runtime without sampling of its own for each run has anyway.
_PENALTIES: Final = ("presence_penalty", "frequency_penalty")
# Ollama's and llama.cpp's clients say so that each answer is to have another seed, as where none is given.
_ANY_SEED: Final = -1


def take(fields: Fields) -> JsonObject:
    """Take the fields that say how tokens are chosen; return the parameters of a run that they are."""
    for name in (*_NUMBERS, *_PENALTIES, *_WHOLE):
        fields.becomes(name, f"sampling_params.{name}")
    fields.becomes("seed", "seed")
    found: JsonObject = {name: value for name in _NUMBERS if (value := fields.number(name)) is not None}
    found |= {name: value for name in _PENALTIES if (value := fields.number(name))}
    found |= {name: value for name in _WHOLE if (value := fields.integer(name)) is not None}
    # Of those that cut unlikely tokens off, only top_p and top_k are the runtime's.
    fields.neutral({"min_p": (0, 0.0), "typical_p": (1, 1.0), "tfs_z": (1, 1.0)})
    if found.get("temperature") == 0:  # always the likeliest token
        found["top_k"] = 1
        del found["temperature"]
    params: JsonObject = {"sampling_params": found} if found else {}
    seed = fields.integer("seed")
    if seed not in (None, _ANY_SEED):
        params["seed"] = seed % SEEDS  # the same one is the same again
    return params

"""How tokens are chosen: a request's fields as the daemon's ``sampling_params``."""

from __future__ import annotations

from typing import Final

from rkllmd.gateway.fields import Fields
from rkllmd.json_types import JsonObject

_NUMBERS: Final = ("temperature", "top_p", "repeat_penalty", "mirostat_tau", "mirostat_eta")
# 0 is no penalty, which a runtime without sampling of its own for each run has anyway.
_PENALTIES: Final = ("presence_penalty", "frequency_penalty")


def take(fields: Fields) -> JsonObject:
    """Take the fields that say how tokens are chosen; return the parameters of a run that they are."""
    found: JsonObject = {name: value for name in _NUMBERS if (value := fields.number(name)) is not None}
    found |= {name: value for name in _PENALTIES if (value := fields.number(name))}
    found |= {name: value for name in ("top_k", "mirostat") if (value := fields.integer(name)) is not None}
    # Of those that cut unlikely tokens off, only top_p and top_k are the runtime's.
    fields.neutral({"min_p": (0, 0.0), "typical_p": (1, 1.0), "tfs_z": (1, 1.0)})
    if found.get("temperature") == 0:  # always the likeliest token
        found["top_k"] = 1
        del found["temperature"]
    params: JsonObject = {"sampling_params": found} if found else {}
    if (seed := fields.integer("seed")) is not None:
        params["seed"] = seed
    return params

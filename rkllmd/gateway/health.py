"""What balancers and monitors are told of the daemon's state, and with which status."""

from __future__ import annotations

from typing import Final

from rkllmd.gateway import models
from rkllmd.json_types import JsonObject

_UNAVAILABLE: Final = 503
# In these states no run is begun for the time being.
_NOT_READY: Final = ("wedged", "aborting")


def health(status: JsonObject, queue: JsonObject) -> tuple[int, JsonObject]:
    """Return whether the daemon serves, and the places of its queue: how many, how many work and how many wait."""
    lost = status["device_lost"] is not None
    slots = {
        "total": queue["limit"],
        "active": 0 if status["current"] is None else 1,
        "waiting": queue["length"],
    }
    return (_UNAVAILABLE if lost else 200), {"status": "device lost" if lost else "ok", "slots": slots}


def readiness(status: JsonObject) -> tuple[int, JsonObject]:
    """Return whether a run would be begun, as far as that is known: a model is there, and the NPU is not stuck."""
    names = [item.name for item in models.callable_now(status)]
    is_ready = bool(names) and status["device_lost"] is None and status["state"] not in _NOT_READY
    return (200 if is_ready else _UNAVAILABLE), {"ready": is_ready, "state": status["state"], "models": names}

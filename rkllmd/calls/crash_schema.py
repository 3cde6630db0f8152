"""The JSON Schema of a crash: ``last_crash`` of server.status, ``crash`` of the error Crashed and of the event."""

from __future__ import annotations

from typing import Final

from rkllmd.json_types import JsonObject

_TEXT: Final[JsonObject] = {"type": "string"}
_TEXT_OR_NULL: Final[JsonObject] = {"type": ["string", "null"]}
_NUMBER_OR_NULL: Final[JsonObject] = {"type": ["integer", "null"]}


def _object(properties: JsonObject) -> JsonObject:
    """Return the schema of an object that has all of these and nothing else."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_CALL: Final = _object(
    {
        "method": {**_TEXT_OR_NULL, "description": "null: the daemon's own work"},
        "function": {**_TEXT, "description": "the C function"},
        "handle": {**_NUMBER_OR_NULL, "description": "of the model or context; null in a load"},
        "name": {**_TEXT_OR_NULL, "description": "by which the configuration declares the model"},
        "model_path": _TEXT_OR_NULL,
        "pid": {**_NUMBER_OR_NULL, "description": "the client's process"},
        "uid": _NUMBER_OR_NULL,
        "request": {"type": ["string", "integer", "null"], "description": "the request's id"},
        "job": _TEXT_OR_NULL,
        "runs": {"type": "integer", "minimum": 1, "description": "how many clients' runs shared it; this is the first"},
        "elapsed_ms": {"type": "number", "minimum": 0, "description": "for how long it had run"},
        "thread": {"enum": ["npu", "event loop"]},
    }
)

CRASH: Final = _object(
    {
        "at": {"type": "string", "format": "date-time"},
        "end": {**_TEXT, "description": "SIGSEGV, exit status 3"},
        "signal": _TEXT_OR_NULL,
        "exit_status": _NUMBER_OR_NULL,
        "stuck": {"type": "boolean", "description": "its event loop had stopped, and the keeper has ended it"},
        "out_of_memory": {
            "type": "boolean",
            "description": "killed, perhaps for want of memory: the kernel has killed somebody for that meanwhile",
        },
        "call": {**_CALL, "type": ["object", "null"], "description": "the C call that ended it, as far as is known"},
        "beside": {"type": "array", "items": _CALL, "description": "the C calls that ran beside it"},
        "lines": {"type": "array", "items": _TEXT, "maxItems": 40, "description": "what C had printed last"},
        "stacks": {**_TEXT, "description": "where the Python threads were; empty where nothing could say so"},
        "pid": {"type": "integer"},
        "uptime_s": {"type": "number"},
        "crashes": {"type": "integer", "description": "of all daemons of this keeper so far"},
    }
)

"""The result of a C function that only reports a status."""

from __future__ import annotations

from rkllmd.json_types import Json, JsonObject


def success(**members: Json) -> JsonObject:
    """Return the result of a function that only reports a status, and what it set."""
    return {"success": True, "status": 0, **members}

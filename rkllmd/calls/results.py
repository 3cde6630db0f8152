"""Results that many methods have."""

from __future__ import annotations

from typing import Final

from rkllmd.json_types import Json, JsonObject

LATER: Final = object()
"""What an instant method returns that answers its call by itself, on the event loop, later."""


def success(**members: Json) -> JsonObject:
    """Return the result of a function that only reports a status, and what it set."""
    return {"success": True, "status": 0, **members}

"""The result of a C function that only reports a status."""

from __future__ import annotations

from typing import Any


def success(**members: Any) -> dict[str, Any]:
    """Return the result of a function that only reports a status, and what it set."""
    return {"success": True, "status": 0, **members}

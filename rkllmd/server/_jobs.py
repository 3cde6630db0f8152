"""What the methods about a call in flight share."""

from __future__ import annotations

from typing import Any, Final

from rkllmd.method import Value

CALL_ID: Final = Value(
    "id",
    {"type": ["string", "integer"], "description": "the id of a request in flight on the same connection"},
)


def elapsed_ms(since: float, now: float) -> float:
    """Return the milliseconds between two times of the monotonic clock."""
    return round((now - since) * 1000, 1)


def describe_client(client: Any) -> str | None:
    """Return who has made a call, or None for the daemon itself."""
    return client.describe() if client is not None else None

"""server.watch: be told what happens, as notifications ``server.event``, until the connection closes."""

from __future__ import annotations

from typing import Any, Final

from rkllmd.context import Invocation
from rkllmd.events import EVENTS
from rkllmd.method import Kind, Value, method

_EVENTS: Final = Value(
    "events",
    {
        "type": "array",
        "items": {"enum": list(EVENTS)},
        "maxItems": len(EVENTS),
        "description": "queue: what runs and waits; load: how loads go on; job: ends of the user's own jobs",
    },
)


@method(Kind.INSTANT, [_EVENTS])
def watch(invocation: Invocation, events: list[str]) -> dict[str, Any]:
    """Watch these events instead of those before; none ends it. The present state is told at once."""
    invocation.context.events.watch(invocation.client, events)
    return {"watching": sorted(set(events))}

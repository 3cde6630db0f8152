"""server.watch: learn what happens, as notifications ``server.event``, until the connection closes."""

from __future__ import annotations

from typing import Any, Final

from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.service.events import EVENTS
from rkllmd.service.parts import Service

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
def watch(service: Service, invocation: Invocation, events: list[str]) -> dict[str, Any]:
    """Watch these events instead of those before; none ends it. The present state comes at once."""
    service.events.watch(invocation.client, events)
    return {"watching": sorted(set(events))}

"""server.watch: get notifications (``server.event``) of what happens, until the connection closes."""

from __future__ import annotations

from typing import Final

from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.service.events import EVENTS
from rkllmd.service.parts import Service

_EVENTS: Final = Value(
    "events",
    {
        "type": "array",
        "items": {"enum": list(EVENTS)},
        "maxItems": len(EVENTS),
        "description": "queue: what runs and waits; load: how far one is; models: which exist; job: the user's own",
    },
)


@method(Kind.INSTANT, [_EVENTS])
def watch(service: Service, invocation: Invocation, events: list[str]) -> JsonObject:
    """Watch these events instead of those before; an empty array ends it. The current state is sent at once."""
    service.events.watch(invocation.client, events)
    return {"watching": sorted(set(events))}

"""server.queue: the calls that wait for the NPU, in the order of their turns."""

from __future__ import annotations

import time

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.npu import views
from rkllmd.service.parts import Service


@method(Kind.INSTANT, repeatable=True)
def queue(service: Service, invocation: Invocation) -> JsonObject:
    """Return method, client, position and waiting time of each; the running call is in server.status."""
    npu = service.npu
    waiting = views.waiting(npu, time.monotonic())
    return {"queue": waiting, "length": len(waiting), "limit": npu.queue.limits.total}

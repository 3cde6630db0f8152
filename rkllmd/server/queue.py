"""server.queue: the calls that wait for the NPU, the next one first."""

from __future__ import annotations

import time
from typing import Any

from rkllmd.context import Invocation
from rkllmd.method import Kind, method
from rkllmd.server._jobs import describe_client, elapsed_ms


@method(Kind.INSTANT)
def queue(invocation: Invocation) -> dict[str, Any]:
    """Return method, client, position and waiting time of each; the running call is in server.status."""
    now = time.monotonic()
    waiting = [
        {
            "method": job.method,
            "client": describe_client(job.client),
            "position": position,
            "queued_ms": elapsed_ms(job.queued_at, now),
            # An honest estimate needs a history of calls; there is none yet.
            "estimated_wait_ms": None,
        }
        for position, job in enumerate(invocation.context.npu.queue)
    ]
    return {"queue": waiting, "length": len(waiting), "limit": invocation.context.npu.queue.limit}

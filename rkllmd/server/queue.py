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
    npu = invocation.context.npu
    waits = npu.history.waits(npu.queue.running, npu.queue, now)
    waiting = [
        {
            "method": job.method,
            "client": describe_client(job.client),
            "priority": job.priority,
            "position": position,
            "queued_ms": elapsed_ms(job.queued_at, now),
            # Null until a call of the same method has been seen.
            "estimated_wait_ms": wait,
        }
        for position, (job, wait) in enumerate(zip(npu.queue, waits, strict=True))
    ]
    return {"queue": waiting, "length": len(waiting), "limit": npu.queue.limits.total}

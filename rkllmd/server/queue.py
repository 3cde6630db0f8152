"""server.queue: the calls that wait for the NPU, the next one first."""

from __future__ import annotations

import time
from typing import Any

from rkllmd import progress
from rkllmd.context import Invocation
from rkllmd.method import Kind, method


@method(Kind.INSTANT)
def queue(invocation: Invocation) -> dict[str, Any]:
    """Return method, client, position and waiting time of each; the running call is in server.status."""
    npu = invocation.context.npu
    waiting = progress.waiting(npu, time.monotonic())
    return {"queue": waiting, "length": len(waiting), "limit": npu.queue.limits.total}

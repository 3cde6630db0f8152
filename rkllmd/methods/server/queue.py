"""server.queue: the calls that wait for the NPU, in the order of their turns, and what runs."""

from __future__ import annotations

import time

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.npu import views
from rkllmd.service.parts import Service


@method(Kind.INSTANT, repeatable=True)
def queue(service: Service, invocation: Invocation) -> JsonObject:
    """Return method, client, position and waiting time of each, and how far those are that run.

    ``own``: it is a call of the connection that asks.
    """
    npu, now, client = service.npu, time.monotonic(), invocation.client
    turns = views.turns(npu, now)
    waiting, running = views.waiting(turns, now), views.running(npu, now)
    for jobs, shown in (([job for job, _ in turns], waiting), (views.at_work(npu), running)):
        for job, item in zip(jobs, shown, strict=True):
            item["own"] = job.client is client
    return {"queue": waiting, "length": len(waiting), "limit": npu.queue.limits.total, "running": running}

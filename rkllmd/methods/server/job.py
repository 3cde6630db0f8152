"""server.job: the state of a job, a call that was detached by server.submit."""

from __future__ import annotations

import time
from typing import Final

from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.methods.server._named_calls import JOB_ID
from rkllmd.npu import views
from rkllmd.service.parts import Service

_FORGET: Final = Value(
    "forget",
    {"type": "boolean", "description": "Forget the job after this, if it has ended."},
    required=False,
)


@method(Kind.INSTANT, [Value(JOB_ID.name, JOB_ID.schema), _FORGET], repeatable=frozenset({_FORGET.name}))
def job(service: Service, invocation: Invocation, job: str, forget: bool = False) -> JsonObject:
    """Return the state of the job, and its result or error once it has ended.

    ``not_found``: there is no such job, it is another user's, or it is not kept any more.
    """
    now = time.monotonic()
    call = service.detached_calls.find(job, invocation.client.user)
    if call is None:
        return {"status": "not_found"}
    answer = {"status": call.status, "job": call.id, "method": call.method}
    running = call.job
    if running is not None and answer["status"] == "queued":
        queued = views.elapsed_ms(running.queued_at, now)
        return {**answer, **views.place(service.npu, running, now), "queued_ms": queued}
    if running is not None:
        done = views.of(running, service.npu.durations, now)
        generation = running.generation
        if done is not None and generation is not None:  # the text is the user's own: server.status does not show it
            done |= generation.so_far()
        return {**answer, "elapsed_ms": views.elapsed_ms(running.started_at, now), "progress": done}
    call.was_read = True
    if forget:
        service.detached_calls.forget(call)
    ending = {"result": call.result} if call.error is None else {"error": call.error}
    return {**answer, "elapsed_ms": call.elapsed_ms, **ending}

"""server.pause: let a streaming run stop at its next token, to be resumed by the next run.

Of the same connection by its id, or a detached one of the same user by its job.
"""

from __future__ import annotations

from typing import Any

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.methods.server._named_calls import CALL_OR_JOB, find
from rkllmd.service.parts import Service
from rkllmd.wire.jsonrpc import Id


@method(Kind.INSTANT, CALL_OR_JOB)
def pause(service: Service, invocation: Invocation, id: Id = None, job: str | None = None) -> dict[str, Any]:  # noqa: A002 - the wire's name
    """Let the result callback return 1; the run ends with finish_reason "pause" and the KV cache stays.

    False for what is not running: a call that waits has nothing to keep, cancel it instead. False for a run that builds
    a history as well: a callback may pause in single-turn mode only (manual 1.3.0).
    """
    found = find(service, invocation, id, job)
    generation = found.generation if found is not None and found.state == "running" else None
    if generation is None:
        return {"paused": False}
    if generation.keeps_history:
        return {"paused": False, "reason": "A run with keep_history, or of a session, can't be paused."}
    generation.pause_requested = True
    return {"paused": True}

"""server.pause: let a streaming run stop at its next token, to be resumed by the next run.

The run is one of the same connection, named by its id, or a job of the same user.
"""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.methods.server._named_calls import CALL_OR_JOB, find
from rkllmd.service.parts import Service
from rkllmd.wire.jsonrpc import Id


@method(Kind.INSTANT, CALL_OR_JOB)
def pause(service: Service, invocation: Invocation, id: Id = None, job: str | None = None) -> JsonObject:  # noqa: A002 - the wire's name
    """Let the result callback return 1; the run ends with finish_reason "pause", and the KV cache keeps its state.

    The result is false if the call is not running: a waiting one has nothing to keep, so cancel it instead. It is also
    false for a run that builds a history: a callback may pause only in single-turn mode (manual 1.3.0).
    """
    found = find(service, invocation, id, job)
    generation = found.generation if found is not None and found.state == "running" else None
    if generation is None:
        return {"paused": False}
    if generation.keeps_history:
        return {"paused": False, "reason": "A run with keep_history, or of a session, can't be paused."}
    if generation.shares_batch:
        return {"paused": False, "reason": "A run that shares a batch with those of others can't be paused."}
    generation.pause_requested = True
    return {"paused": True}

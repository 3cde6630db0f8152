"""server.pause: let a streaming run of the same connection stop at its next token, to be resumed by the next run."""

from __future__ import annotations

from typing import Any

from rkllmd.context import Invocation
from rkllmd.handles import Model
from rkllmd.jsonrpc import Id
from rkllmd.method import Kind, method
from rkllmd.server._jobs import CALL_ID


@method(Kind.INSTANT, [CALL_ID])
def pause(invocation: Invocation, id: Id) -> dict[str, Any]:  # noqa: A002 - the wire's name
    """Let the result callback return 1; the run ends with finish_reason "pause" and the KV cache stays.

    False for an id that is not running: a call that waits has nothing to keep, cancel it instead.
    """
    job = invocation.client.find_job(id)
    if job is None or job.state != "running" or not isinstance(job.target, Model) or job.target.generation is None:
        return {"paused": False}
    job.target.generation.pause_requested = True
    return {"paused": True}

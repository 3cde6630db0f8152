"""server.cancel: give up a call of the same connection."""

from __future__ import annotations

from typing import Any

from rkllmd.context import Invocation
from rkllmd.jsonrpc import Id
from rkllmd.method import Kind, method
from rkllmd.server._jobs import CALL_ID


@method(Kind.INSTANT, [CALL_ID])
def cancel(invocation: Invocation, id: Id) -> dict[str, Any]:  # noqa: A002 - the wire's name
    """Drop a waiting call, or stop a running one as soon as it can be; it is always answered.

    False for an id that is not in flight: the answer may have crossed the request.
    """
    job = invocation.client.find_job(id)
    return {"cancelled": job is not None and invocation.context.npu.cancel(job)}

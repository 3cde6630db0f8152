"""server.cancel: give up a call of the same connection, or a detached one of the same user."""

from __future__ import annotations

from typing import Any

from rkllmd.context import Invocation
from rkllmd.jsonrpc import Id
from rkllmd.method import Kind, method
from rkllmd.server._jobs import CALL_OR_JOB, find


@method(Kind.INSTANT, CALL_OR_JOB)
def cancel(invocation: Invocation, id: Id = None, job: str | None = None) -> dict[str, Any]:  # noqa: A002 - the wire's name
    """Drop a waiting call, or stop a running one as soon as it can be; it is always answered.

    False for what is not in flight: the answer may have crossed the request.
    """
    found = find(invocation, id, job)
    return {"cancelled": found is not None and invocation.context.npu.cancel(found)}

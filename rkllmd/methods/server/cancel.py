"""server.cancel: give up a call of the same connection, or a detached one of the same user."""

from __future__ import annotations

from typing import Any

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.methods.server._named_calls import CALL_OR_JOB, find
from rkllmd.service.parts import Service
from rkllmd.wire.jsonrpc import Id


@method(Kind.INSTANT, CALL_OR_JOB)
def cancel(service: Service, invocation: Invocation, id: Id = None, job: str | None = None) -> dict[str, Any]:  # noqa: A002 - the wire's name
    """Drop a waiting call, or stop a running one as soon as it can be; it is always answered.

    False for what is not in flight: the answer may have crossed the request.
    """
    found = find(service, invocation, id, job)
    return {"cancelled": found is not None and service.npu.cancel(found)}

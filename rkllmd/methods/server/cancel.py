"""server.cancel: cancel a call of the same connection, or a job of the same user."""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.detached.call import DetachedCall
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.methods.server._named_calls import CALL_OR_JOB, find
from rkllmd.service.parts import Service
from rkllmd.wire.jsonrpc import Id


@method(Kind.INSTANT, CALL_OR_JOB)
def cancel(service: Service, invocation: Invocation, id: Id = None, job: str | None = None) -> JsonObject:  # noqa: A002 - the wire's name
    """Drop a waiting call, or stop a running one as soon as possible; that call is always answered.

    The result is false if the call is not in flight: its answer may have crossed this request.
    """
    found = find(service, invocation, id, job)
    if found is not None and isinstance(found.client, DetachedCall):
        found.client.is_given_up = True
    return {"cancelled": found is not None and service.npu.cancel(found)}

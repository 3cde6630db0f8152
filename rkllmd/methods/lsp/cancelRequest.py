"""$/cancelRequest: server.cancel as the notification that clients of language servers send."""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.methods.server import cancel
from rkllmd.methods.server._named_calls import CALL_ID
from rkllmd.service.parts import Service
from rkllmd.wire.jsonrpc import Id


@method(Kind.INSTANT, [CALL_ID])
def cancel_request(service: Service, invocation: Invocation, id: Id) -> JsonObject:  # noqa: A002 - the wire's name
    """Cancel a call of the same connection; if it is sent as a request, it is answered as server.cancel is."""
    result: JsonObject = cancel.cancel(service, invocation, id)
    return result

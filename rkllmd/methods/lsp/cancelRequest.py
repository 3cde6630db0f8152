"""$/cancelRequest: server.cancel as the notification that clients of language servers send."""

from __future__ import annotations

from typing import Any

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.methods.server import cancel
from rkllmd.methods.server._named_calls import CALL_ID
from rkllmd.service.parts import Service
from rkllmd.wire.jsonrpc import Id


@method(Kind.INSTANT, [CALL_ID])
def cancel_request(service: Service, invocation: Invocation, id: Id) -> dict[str, Any]:  # noqa: A002 - the wire's name
    """Give up a call of the same connection; sent with an id of its own, it is answered as server.cancel is."""
    result: dict[str, Any] = cancel.cancel(service, invocation, id)
    return result

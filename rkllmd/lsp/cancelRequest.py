"""$/cancelRequest: server.cancel as the notification that clients of language servers send."""

from __future__ import annotations

from typing import Any

from rkllmd.context import Invocation
from rkllmd.jsonrpc import Id
from rkllmd.method import Kind, method
from rkllmd.server import cancel
from rkllmd.server._jobs import CALL_ID


@method(Kind.INSTANT, [CALL_ID])
def cancel_request(invocation: Invocation, id: Id) -> dict[str, Any]:  # noqa: A002 - the wire's name
    """Give up a call of the same connection; sent with an id of its own, it is answered as server.cancel is."""
    result: dict[str, Any] = cancel.cancel(invocation, id)
    return result

"""rpc.discover: the OpenRPC document, made from the same schemas that validate."""

from __future__ import annotations

from typing import Any

from rkllmd.context import Invocation
from rkllmd.discovery import openrpc
from rkllmd.method import Kind, method


@method(Kind.INSTANT)
def discover(invocation: Invocation) -> dict[str, Any]:
    """Return the document."""
    return openrpc(invocation.context.methods)

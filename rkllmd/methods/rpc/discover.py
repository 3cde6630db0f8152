"""rpc.discover: the OpenRPC document, made from the same schemas that validate."""

from __future__ import annotations

from typing import Any

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.discovery import openrpc
from rkllmd.calls.invocation import Invocation
from rkllmd.service.parts import Service


@method(Kind.INSTANT, repeatable=True)
def discover(service: Service, invocation: Invocation) -> dict[str, Any]:
    """Return the document."""
    return openrpc(service.methods)

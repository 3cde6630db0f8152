"""rpc.discover: the OpenRPC document, made from the same schemas that check requests."""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.discovery import openrpc
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.service.parts import Service


@method(Kind.INSTANT, repeatable=True)
def discover(service: Service, invocation: Invocation) -> JsonObject:
    """Return the document."""
    return openrpc(service.methods)

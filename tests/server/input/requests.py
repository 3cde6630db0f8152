"""A request, and the good one that must be answered after each bad one."""

from __future__ import annotations

import json
from typing import Any

from tests.wire_connection import Wire


def assert_recovered(wire: Wire) -> None:
    """Send a good request, as QEMU does after each malformed one; its answer must be the next message."""
    wire.request("server.queue", None, "good")
    message = wire.receive()
    assert message is not None, "the connection was closed"
    assert (message["id"], message.get("error")) == ("good", None), f"not the answer of the good request: {message}"


def request(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "server.queue", **members}).encode()

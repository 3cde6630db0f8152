"""Scenarios and waits that the tests of time limits share."""

from __future__ import annotations

import base64
from typing import Any

from tests.daemon import Daemon
from tests.wire_connection import Wire, kind

# An hour, but for an abort.
ENDLESS = {"text": "a b", "tokens": "words", "prefill_ms": 3_600_000, "prefill_abort": 1}
PICTURE = {"input_data": base64.b64encode(bytes(48)).decode()}
QUICK = {"text": "a b", "tokens": "words"}


def ask_until(wire: Wire, method: str, params: Any, wanted: str | None) -> dict[str, Any]:
    """Ask again until the answer is of this kind."""
    while kind(answer := wire.ask(method, params)) != wanted:
        pass
    return answer


def load_vision(daemon: Daemon, wire: Wire) -> None:
    """Let a connection have an RKNN model."""
    model = daemon.directory / "model.rknn"
    model.touch()
    wire.ask("rknn.init", {"model_path": str(model)})


def wait_state(wire: Wire, state: str) -> None:
    while wire.ask("server.status", call_id="state")["result"]["state"] != state:
        pass

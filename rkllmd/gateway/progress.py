"""What a client that waits is told: its place in the queue, or what the model does for it."""

from __future__ import annotations

from rkllmd.json_types import JsonObject


def describe(queue: JsonObject | None, *, has_begun: bool) -> str:
    """Return where a call is; ``queue`` is what ``server.queue`` has answered to its connection, None if nothing."""
    if has_begun:
        return "generating"
    if queue is None:
        return "waiting"
    own = next((item for item in queue["queue"] if item["own"]), None)
    if own is not None:
        wait = own["estimated_wait_ms"]
        begins = "" if wait is None else f", about {wait / 1000:.0f} s"
        return f"queued, position {own['position'] + 1} of {queue['length']}{begins}"
    running = next((item for item in queue["running"] if item["own"]), None)
    expected = ((running or {}).get("progress") or {}).get("expected_first_token_ms")
    if running is None or expected is None:
        return "reading the prompt"
    return f"reading the prompt, {running['elapsed_ms'] / 1000:.0f} s of about {expected / 1000:.0f} s"

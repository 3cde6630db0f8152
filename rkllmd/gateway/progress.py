"""What a client that waits is told: its place in the queue, or what the model does for it."""

from __future__ import annotations

from typing import Final

from rkllmd.json_types import JsonObject

GENERATING: Final = "generating"


def describe(queue: JsonObject, pid: int, waited_ms: float, *, has_begun: bool) -> str:
    """Return where a call is that was made ``waited_ms`` ago by the process ``pid``; ``queue`` is ``server.queue``.

    The queue does not say which call is whose request, so it is the one of this process that waits about as long.
    """
    if has_begun:
        return GENERATING
    ours = [item for item in queue["queue"] if f"(pid {pid}," in (item["client"] or "")]
    nearest = min(ours, key=lambda item: abs(item["queued_ms"] - waited_ms), default=None)
    if nearest is None or waited_ms - nearest["queued_ms"] > waited_ms / 2:
        return "reading the prompt"
    wait = nearest["estimated_wait_ms"]
    begins = "" if wait is None else f", about {wait / 1000:.0f} s"
    return f"queued, position {nearest['position']} of {queue['length']}{begins}"

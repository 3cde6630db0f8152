"""What a client says in sessions."""

from __future__ import annotations

from typing import Any

from tests.daemon import Wire


def say(wire: Wire, session: str | None, prompt: str, **params: Any) -> dict[str, Any]:
    """Take a turn of a session; return its result."""
    members = {} if session is None else {"session": session}
    result: dict[str, Any] = wire.ask("rkllm.run", {"prompt": prompt, **params}, "turn", **members)["result"]
    return result


def listed(wire: Wire) -> dict[str, dict[str, Any]]:
    """Return what ``server.sessions`` says of each session."""
    return {item["name"]: item for item in wire.ask("server.sessions", None, "list")["result"]["sessions"]}

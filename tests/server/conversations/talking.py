"""What clients say in sessions, and in conversations that they send whole."""

from __future__ import annotations

from typing import Any

from tests.wire_connection import Wire


def say(wire: Wire, session: str | None, prompt: str, **params: Any) -> dict[str, Any]:
    """Take a turn of a session; return its result."""
    members = {} if session is None else {"session": session}
    result: dict[str, Any] = wire.ask("rkllm.run", {"prompt": prompt, **params}, "turn", **members)["result"]
    return result


def listed(wire: Wire) -> dict[str, dict[str, Any]]:
    """Return what ``server.sessions`` says of each session."""
    return {item["name"]: item for item in wire.ask("server.sessions", None, "list")["result"]["sessions"]}


class Talk:
    """A client that sends its whole conversation each time."""

    def __init__(self, wire: Wire, *system: str) -> None:
        self.wire = wire
        self.messages: list[dict[str, Any]] = [{"role": "system", "content": text} for text in system]

    def ask(self, question: str | list[dict[str, Any]], **params: Any) -> dict[str, Any]:
        """Say something; return the result."""
        self.messages.append({"role": "user", "content": question})
        result: dict[str, Any] = self.wire.ask("rkllm.run", {"messages": self.messages, **params}, "talk")["result"]
        self.messages.append({"role": "assistant", "content": result["text"]})
        return result

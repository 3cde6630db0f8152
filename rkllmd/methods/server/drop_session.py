"""server.drop_session: forget one of the sessions of the caller's user."""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.language.caching import kept_conversations
from rkllmd.service.parts import Service


@method(Kind.ORDERED, [Value("name", {"type": "string", "minLength": 1, "maxLength": 100})])
def drop_session(service: Service, invocation: Invocation, name: str) -> JsonObject:
    """Forget what was said, after the calls that wait; the KV cache is cleared before any other client's turn."""
    dropped = service.language.sessions.drop(invocation.client.user, name)
    numbers = {session.number for session in dropped}
    kept_conversations.forget(service.language, lambda kept: kept.chat.session in numbers)
    return {"dropped": bool(dropped), "name": name}

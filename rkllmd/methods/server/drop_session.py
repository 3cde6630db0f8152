"""server.drop_session: forget one of the sessions of the caller's user."""

from __future__ import annotations

import contextlib

from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.errors import RpcError
from rkllmd.json_types import JsonObject
from rkllmd.language.runs import session_caches
from rkllmd.service.parts import Service


@method(Kind.ORDERED, [Value("name", {"type": "string", "minLength": 1, "maxLength": 100})])
def drop_session(service: Service, invocation: Invocation, name: str) -> JsonObject:
    """Forget what was said, after the calls that wait; the KV cache is cleared before any other client's turn."""
    dropped = service.language.sessions.drop(invocation.client.user, name)
    for session in dropped:
        with contextlib.suppress(RpcError):  # it has no prompt cache
            service.language.prompt_caches.drop(session_caches.owner_of(session), session.cache_name, [])
    return {"dropped": bool(dropped), "name": name}

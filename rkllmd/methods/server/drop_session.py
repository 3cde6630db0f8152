"""server.drop_session: forget one of the conversations that the caller's user has by name."""

from __future__ import annotations

import contextlib
from typing import Any

from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.errors import RpcError
from rkllmd.language.runs import turns
from rkllmd.service.parts import Service


@method(Kind.ORDERED, [Value("name", {"type": "string", "minLength": 1, "maxLength": 100})])
def drop_session(service: Service, invocation: Invocation, name: str) -> dict[str, Any]:
    """Forget what was said, behind the calls that wait; the model's KV cache is cleared before anybody else's turn."""
    dropped = service.language.sessions.drop(invocation.client.user, name)
    for session in dropped:
        with contextlib.suppress(RpcError):  # it has none
            service.language.prompt_caches.drop(turns.owner_of(session), session.cache_name, [])
    return {"dropped": bool(dropped), "name": name}

"""server.drop_session: forget one of the conversations that the caller's user has by name."""

from __future__ import annotations

import contextlib
from typing import Any

from rkllmd import session_runs
from rkllmd.context import Invocation
from rkllmd.errors import RpcError
from rkllmd.method import Kind, Value, method


@method(Kind.ORDERED, [Value("name", {"type": "string", "minLength": 1, "maxLength": 100})])
def drop_session(invocation: Invocation, name: str) -> dict[str, Any]:
    """Forget what was said, behind the calls that wait; the model's KV cache is cleared before anybody else's turn."""
    context = invocation.context
    dropped = context.sessions.drop(invocation.client.user, name)
    for session in dropped:
        with contextlib.suppress(RpcError):  # it has none
            context.prompt_caches.drop(session_runs.owner_of(session), session.cache_name, [], "$")
    return {"dropped": bool(dropped), "name": name}

"""server.sessions: the conversations that the caller's user has by name, the last used first."""

from __future__ import annotations

from typing import Any

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.service.parts import Service


@method(Kind.INSTANT, repeatable=True)
def sessions(service: Service, invocation: Invocation) -> dict[str, Any]:
    """Return name, model, size and age of each, not what was said; another user's are not shown."""
    service.language.sessions.expire(service.config.session_hours * 3600)
    now, known = (
        service.language.sessions.now(),
        {model.kv_cache.owner for model in service.language.models if model.kv_cache.is_kept},
    )
    return {
        "sessions": [
            {
                "name": session.name,
                "model_path": session.model_path,
                "turns": len(session.turns),
                # The oldest ones, which went because the session became too large.
                "dropped_turns": session.dropped_turns,
                "size_bytes": session.size_bytes,
                "made_s": round(now - session.made_at, 1),
                "used_s": round(now - session.used_at, 1),
                # Whether its next turn costs no more than the question.
                "in_kv_cache": session in known,
            }
            for session in service.language.sessions.of(invocation.client.user)
        ],
        "limit": service.config.max_sessions_per_user,
        "limit_bytes": service.config.session_bytes,
    }

"""server.sessions: the conversations that the caller's user has by name, the last used first."""

from __future__ import annotations

from typing import Any

from rkllmd.context import Invocation
from rkllmd.method import Kind, method


@method(Kind.INSTANT)
def sessions(invocation: Invocation) -> dict[str, Any]:
    """Return name, model, size and age of each, not what was said; another user's are not shown."""
    context = invocation.context
    context.sessions.expire(context.config.session_hours * 3600)
    now, known = context.sessions.now(), {model.kv_cache.owner for model in context.models if model.kv_cache.is_kept}
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
            for session in context.sessions.of(invocation.client.user)
        ],
        "limit": context.config.max_sessions_per_user,
        "limit_bytes": context.config.session_bytes,
    }

"""server.sessions: the sessions of the caller's user, the most recently used first."""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.language.chats.held import Chat
from rkllmd.service.parts import Service


@method(Kind.INSTANT, repeatable=True)
def sessions(service: Service, invocation: Invocation) -> JsonObject:
    """Return name, model, size and age of each, but not what was said; not those of other users."""
    service.language.sessions.expire(service.config.session_hours * 3600)
    now = service.language.sessions.now()
    owners = [model.kv_cache.owner for model in service.language.models if model.kv_cache.is_kept]
    in_kv_caches = {owner.session for owner in owners if isinstance(owner, Chat)}
    return {
        "sessions": [
            {
                "name": session.name,
                "model_path": session.model_path,
                "turns": len(session.turns),
                # How many of the oldest turns were dropped because the session became too large.
                "dropped_turns": session.dropped_turns,
                "size_bytes": session.size_bytes,
                "made_s": round(now - session.made_at, 1),
                "used_s": round(now - session.used_at, 1),
                # Whether the model has to read no more than the question in the next turn.
                "in_kv_cache": session.number in in_kv_caches,
            }
            for session in service.language.sessions.of(invocation.client.user)
        ],
        "limit": service.config.max_sessions_per_user,
        "limit_bytes": service.config.session_bytes,
    }

"""server.prompt_caches: the prompt caches that the caller's user has saved by name, the most recently used first."""

from __future__ import annotations

import time

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.language.runs import prompt_cache_names
from rkllmd.service.parts import Service


@method(Kind.INSTANT, repeatable=True)
def prompt_caches(service: Service, invocation: Invocation) -> JsonObject:
    """Return name, model, size, and how long ago each was saved and last loaded; not those of other users."""
    now = time.time()
    loaded = prompt_cache_names.loaded_caches(service.language)
    mine = service.language.prompt_caches.of(prompt_cache_names.owner_of(invocation.client))
    return {
        "prompt_caches": [
            {
                "name": cache.name,
                "model_path": cache.fingerprint.get("model_path"),
                "lora_adapter_name": cache.fingerprint.get("lora_adapter"),
                "size_bytes": cache.size_bytes,
                # The clock of a board without a battery may have gone back.
                "saved_s": round(max(0.0, now - cache.saved_at), 1),
                "used_s": round(max(0.0, now - cache.used_at), 1),
                "loaded": cache in loaded,
            }
            for cache in mine
        ],
        # Of all users, since they share the limit.
        "total_bytes": service.language.prompt_caches.size_bytes,
        "limit_bytes": service.language.prompt_caches.limit_bytes,
        # Why no cache can be kept, or null.
        "unavailable": service.language.prompt_caches.why_not(),
    }

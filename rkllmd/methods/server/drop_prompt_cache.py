"""server.drop_prompt_cache: remove a prompt cache that the caller's user has saved by name."""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.language.runs import prompt_cache_names
from rkllmd.service.parts import Service

_WHERE = "$.name"


def _check(service: Service, invocation: Invocation, name: str) -> None:
    service.language.prompt_caches.check_name(name, _WHERE)


@method(Kind.ORDERED, [Value("name", {"type": "string", "minLength": 1})], check=_check)
def drop_prompt_cache(service: Service, invocation: Invocation, name: str) -> JsonObject:
    """Remove the cache, after the calls that wait and may load it; a loaded one is refused."""
    owner = prompt_cache_names.owner_of(invocation.client)
    loaded = prompt_cache_names.loaded_caches(service.language)
    dropped = service.language.prompt_caches.drop(owner, name, loaded, _WHERE)
    return {"dropped": True, "name": name, "size_bytes": dropped.size_bytes}

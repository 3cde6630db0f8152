"""server.drop_prompt_cache: remove a prompt cache that the caller's user has saved by name."""

from __future__ import annotations

from typing import Any

from rkllmd import prompt_cache_names
from rkllmd.context import Invocation
from rkllmd.method import Kind, Value, method

_WHERE = "$.name"


def _check(invocation: Invocation, name: str) -> None:
    invocation.context.prompt_caches.check_name(name, _WHERE)


@method(Kind.ORDERED, [Value("name", {"type": "string", "minLength": 1})], check=_check)
def drop_prompt_cache(invocation: Invocation, name: str) -> dict[str, Any]:
    """Remove it, behind the calls that wait and may load it; a loaded one is refused."""
    context = invocation.context
    owner = prompt_cache_names.owner_of(invocation.client)
    dropped = context.prompt_caches.drop(owner, name, prompt_cache_names.in_use(context), _WHERE)
    return {"dropped": True, "name": name, "size_bytes": dropped.size_bytes}

"""rkllm_release_prompt_cache: forget the loaded prompt cache.

C: int rkllm_release_prompt_cache(LLMHandle handle)
"""

from __future__ import annotations

from typing import Any

from rkllmd import conversations
from rkllmd.context import Invocation
from rkllmd.handles import Model
from rkllmd.method import Kind, method
from rkllmd.rkllm._common import LLM, success


@method(Kind.ORDERED, [LLM])
def release_prompt_cache(invocation: Invocation, model: Model) -> dict[str, Any]:
    """Release the cache; runs start from nothing again."""
    invocation.runtime.call("rkllm_release_prompt_cache", model.pointer)
    model.prompt_cache = None
    conversations.log_change(invocation, model, None)
    return success()

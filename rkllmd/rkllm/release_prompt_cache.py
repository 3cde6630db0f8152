"""rkllm_release_prompt_cache: forget the loaded prompt cache.

C: int rkllm_release_prompt_cache(LLMHandle handle)
"""

from __future__ import annotations

from typing import Any

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.language import conversations
from rkllmd.language.model import Model
from rkllmd.language.parts import Language
from rkllmd.rkllm._common import LLM


@method(Kind.ORDERED, [LLM])
def release_prompt_cache(language: Language, invocation: Invocation, model: Model) -> dict[str, Any]:
    """Release the cache; runs start from nothing again."""
    language.runtime.call("rkllm_release_prompt_cache", model.pointer)
    model.prompt_cache = None
    conversations.log_change(language, invocation, model, None)
    return success()

"""rkllm_release_prompt_cache: forget the loaded prompt cache.

C: int rkllm_release_prompt_cache(LLMHandle handle)
"""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.language import conversations
from rkllmd.language.model import Model
from rkllmd.language.parts import Language
from rkllmd.rkllm._common import LLM


@method(Kind.ORDERED, [LLM], alters="model")
def release_prompt_cache(language: Language, invocation: Invocation, model: Model) -> JsonObject:
    """Release the cache; the runs that follow read their whole prompt again."""
    language.runtime.call("rkllm_release_prompt_cache", model.pointer)
    model.prompt_cache = model.prompt_cache_path = None
    language.remembered.keep(model)
    conversations.log_change(language, invocation, model, None)
    return success()

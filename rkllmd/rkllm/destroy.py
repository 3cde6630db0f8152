"""rkllm_destroy: unload a language model and free its memory.

C: int rkllm_destroy(LLMHandle handle)
"""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.language import conversations
from rkllmd.language.caching import kept_conversations
from rkllmd.language.model import Model
from rkllmd.language.models.loading import unload
from rkllmd.language.parts import Language
from rkllmd.rkllm._common import LLM


@method(Kind.NPU, [LLM], changes=LLM.types, alters="model")
def destroy(language: Language, invocation: Invocation, model: Model) -> JsonObject:
    """Unload the model; calls that still wait for it fail with ModelNotInitialized."""
    by = invocation.client.number
    kept_conversations.keep_over_unload(language, model)
    loser = model.kv_cache.clear(by)
    conversations.log_change(language, invocation, model, loser)
    unload(language, model, by)
    return success()

"""rkllm_destroy: unload a language model and free its memory.

C: int rkllm_destroy(LLMHandle handle)
"""

from __future__ import annotations

from typing import Any

from rkllmd import conversations
from rkllmd.context import Invocation
from rkllmd.handles import Model
from rkllmd.method import Kind, method
from rkllmd.model_loading import unload
from rkllmd.rkllm._common import LLM, success


@method(Kind.NPU, [LLM], changes=LLM.kinds)
def destroy(invocation: Invocation, model: Model) -> dict[str, Any]:
    """Unload the model; calls that still wait for it are answered ModelNotInitialized."""
    by, kv_cache = invocation.client.number, model.kv_cache
    loser = kv_cache.lose(by)
    conversations.log_change(invocation, model, loser)
    unload(invocation.context, model, by)
    return success()

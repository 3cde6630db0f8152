"""rkllm_get_kv_cache_size: how many tokens the KV cache holds, for each batch entry.

C: int rkllm_get_kv_cache_size(LLMHandle handle, int *cache_sizes)
"""

from __future__ import annotations

from typing import Any

from rkllmd.calls.declaration import COnly, Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.language.model import Model
from rkllmd.language.parts import Language
from rkllmd.rkllm._common import LLM


@method(Kind.INSTANT, [LLM, COnly("cache_sizes")], repeatable=True)
def get_kv_cache_size(language: Language, invocation: Invocation, model: Model) -> dict[str, Any]:
    """Return the sizes; during a run those before it, marked ``"running": true``.

    Whether the runtime may be asked from another thread during a run is not known, so it is not. A model that sleeps
    has nothing in its cache.
    """
    if model.is_asleep:
        return {"success": True, "cache_sizes": [0] * model.n_batch}
    npu = language.npu
    if npu.queue.runs_on(model) or npu.supervisor.outage is not None:
        return {"success": True, "cache_sizes": model.kv_cache_sizes, "running": True}
    return {"success": True, "cache_sizes": language.runtime.kv_cache_sizes(model)}

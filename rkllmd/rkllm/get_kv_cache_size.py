"""rkllm_get_kv_cache_size: how many tokens the KV cache holds, for each batch entry.

C: int rkllm_get_kv_cache_size(LLMHandle handle, int *cache_sizes)
"""

from __future__ import annotations

from rkllmd.calls.declaration import COnly, Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.language.model import Model
from rkllmd.language.parts import Language
from rkllmd.rkllm._common import LLM


@method(Kind.INSTANT, [LLM, COnly("cache_sizes")], repeatable=True)
def get_kv_cache_size(language: Language, invocation: Invocation, model: Model) -> JsonObject:
    """Return the sizes; during a run the sizes before it, marked ``"running": true``.

    It is not known whether the C function may be called from another thread during a run, so it is not. The cache of a
    sleeping model is empty.
    """
    if model.is_asleep:
        return {"success": True, "cache_sizes": [0] * model.n_batch}
    npu = language.npu
    if npu.queue.runs_on(model) or npu.supervisor.outage is not None:
        return {"success": True, "cache_sizes": model.kv_cache_sizes, "running": True}
    return {"success": True, "cache_sizes": language.runtime.kv_cache_sizes(model)}

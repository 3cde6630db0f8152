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


def _known(language: Language, invocation: Invocation, model: Model) -> bool:
    """Return whether the daemon answers by itself: while the worker is busy, and for a model that sleeps."""
    npu = language.npu
    return model.is_asleep or npu.queue.running is not None or npu.supervisor.outage is not None


@method(Kind.INSTANT, [LLM, COnly("cache_sizes")], known=_known, repeatable=True)
def get_kv_cache_size(language: Language, invocation: Invocation, model: Model) -> JsonObject:
    """Return the sizes; during a run the sizes before it, marked ``"running": true``.

    C is only asked on the worker thread, while that has nothing else to do; otherwise these are the sizes after the
    model's last run or ``rkllm.clear_kv_cache``. The cache of a sleeping model is empty.
    """
    if model.is_asleep:
        return {"success": True, "cache_sizes": [0] * model.n_batch}
    npu = language.npu
    if invocation.job is not None:  # on the worker thread
        return {"success": True, "cache_sizes": language.runtime.kv_cache_sizes(model)}
    is_current = not npu.queue.runs_on(model) and npu.supervisor.outage is None
    return {"success": True, "cache_sizes": model.kv_cache_sizes, **({} if is_current else {"running": True})}

"""rkllm_is_running: whether the model is generating.

C: int rkllm_is_running(LLMHandle handle)
"""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.language.model import Model
from rkllmd.language.parts import Language
from rkllmd.rkllm._common import LLM


@method(Kind.INSTANT, [LLM], repeatable=True)
def is_running(language: Language, invocation: Invocation, model: Model) -> JsonObject:
    """Return what the daemon knows, and beside it the value that the C function returned, as ``status_code``.

    The header of 1.2 says 0 while a task runs, that of 1.3 says 1. ``status_code`` is null if the C function was not
    called: because of the setting is_running_calls, because the NPU is stuck, because the model sleeps, or because a
    call that is not a run works on it and may be unloading it.
    """
    queue, outage = language.npu.queue, language.npu.supervisor.outage
    busy = queue.running is not None and queue.running.target is model and queue.running.abort is not None
    may_ask = outage is None and not model.is_asleep and (busy or not queue.runs_on(model))
    return {"is_running": busy, "status_code": language.runtime.raw_is_running(model) if may_ask else None}

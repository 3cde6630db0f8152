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
    """Return what the daemon knows, and beside it what the C function returns of such a model, as ``status_code``.

    The header of 1.2 says 0 while a task runs, that of 1.3 says 1. C is not asked for this call: ``status_code`` is
    what it has returned when the worker asked it before and during a run of rkllm_run_async. It is null as long as that
    did not happen, which the setting is_running_calls may be the reason for.
    """
    running = language.npu.queue.running
    busy = running is not None and running.target is model and running.abort is not None
    return {"is_running": busy, "status_code": language.runtime.raw_is_running(busy=busy)}

"""rknn_set_batch_core_num: choose how many cores share a model's batch.

C: int rknn_set_batch_core_num(rknn_context context, int core_num)
"""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rknn._common import CONTEXT


@method(Kind.ORDERED, [CONTEXT, Value("core_num", {"type": "integer", "minimum": 1, "maximum": 16})], alters="ctx")
def set_batch_core_num(vision: Vision, invocation: Invocation, ctx: Context, core_num: int) -> JsonObject:
    """Set the number for the runs that follow."""
    vision.runtime.call("rknn_set_batch_core_num", ctx.pointer, core_num)
    return success()

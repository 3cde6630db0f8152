"""rknn_set_weight_mem: keep a model's weights in a tensor memory (RKNN_FLAG_MEM_ALLOC_OUTSIDE).

C: int rknn_set_weight_mem(rknn_context ctx, rknn_tensor_mem *mem)
"""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context, TensorMemory
from rkllmd.vision.parts import Vision
from rknn._attributes import use_outside
from rknn._common import CTX, MEM


@method(Kind.ORDERED, [CTX, MEM], alters="ctx")
def set_weight_mem(vision: Vision, invocation: Invocation, ctx: Context, mem: TensorMemory) -> JsonObject:
    """Use the memory until the context is destroyed; rknn.query RKNN_QUERY_MEM_SIZE says how large it must be."""
    use_outside(vision.runtime, ctx, mem, "rknn_set_weight_mem", "total_weight_size")
    return success()

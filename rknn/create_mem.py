"""rknn_create_mem: allocate a tensor memory.

C: rknn_tensor_mem *rknn_create_mem(rknn_context ctx, uint32_t size)

With "reply_fds": true beside the method, the client also gets the memory's descriptor and may map it.
"""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context, Matmul
from rkllmd.vision.parts import Vision
from rknn._common import ANY_CTX, KEEP, MEM
from rknn._memories import SIZE, add, check_allocation, wrap


@method(Kind.ORDERED, [ANY_CTX, SIZE, KEEP], changes=MEM.types)
def create_mem(
    vision: Vision, invocation: Invocation, ctx: Context | Matmul, size: int, keep: bool = False
) -> JsonObject:
    """Return the handle of a new memory of ``size`` bytes."""
    check_allocation(vision, invocation, size)
    pointer = vision.runtime.create_memory("rknn_create_mem", ctx.pointer, size)
    return add(vision, invocation, wrap(ctx, pointer, size), keep=keep)

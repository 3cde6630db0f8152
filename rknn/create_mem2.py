"""rknn_create_mem2: allocate a tensor memory, and say how.

C: rknn_tensor_mem *rknn_create_mem2(rknn_context ctx, uint64_t size, uint64_t alloc_flags)
"""

from __future__ import annotations

from rkllmd.abi.layouts.rknn_constants import rknn_mem_alloc_flags, rknn_mem_flag
from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context, Matmul
from rkllmd.vision.parts import Vision
from rknn._common import ANY_CTX, KEEP, MEM, flags_schema, mask_of
from rknn._memories import SIZE, add, check_allocation, wrap

# Both groups of macros go into one argument.
_FLAGS: dict[str, int] = {**rknn_mem_alloc_flags.__members__, **rknn_mem_flag.__members__}


@method(
    Kind.ORDERED,
    [ANY_CTX, SIZE, Value("alloc_flags", flags_schema(_FLAGS, "A mask or an array of names."), required=False), KEEP],
    changes=MEM.types,
)
def create_mem2(
    vision: Vision,
    invocation: Invocation,
    ctx: Context | Matmul,
    size: int,
    alloc_flags: str | int | list[str] = 0,
    keep: bool = False,
) -> JsonObject:
    """Return the handle of a new memory; RKNN_MEM_FLAG_ALLOC_NO_CONTEXT makes one for all contexts."""
    check_allocation(vision, invocation, size)
    flags = mask_of(_FLAGS, alloc_flags)
    parent = None if flags & rknn_mem_flag.RKNN_MEM_FLAG_ALLOC_NO_CONTEXT else ctx
    # Also for one that will belong to none: C gets a context that is alive, never 0.
    pointer = vision.runtime.create_memory("rknn_create_mem2", ctx.pointer, size, flags)
    return add(vision, invocation, wrap(parent, pointer, size), keep=keep)

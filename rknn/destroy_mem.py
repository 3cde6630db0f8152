"""rknn_destroy_mem: free a tensor memory.

C: int rknn_destroy_mem(rknn_context ctx, rknn_tensor_mem *mem)
"""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.errors import InvalidParams
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context, Matmul, TensorMemory
from rkllmd.vision.parts import Vision
from rkllmd.vision.release import destroy_memory
from rknn._common import ANY_CTX, MEM, check_belongs


@method(Kind.ORDERED, [ANY_CTX, MEM], changes=MEM.types, fits_between_tokens=False, alters="mem")
def destroy_mem(vision: Vision, invocation: Invocation, ctx: Context | Matmul | None, mem: TensorMemory) -> JsonObject:
    """Free it; the context may be left out, since the memory belongs to it."""
    check_belongs(mem, ctx)
    for other in vision.contexts:
        if mem in other.outside:
            raise InvalidParams(
                f"Context {other.number} keeps its weights or intermediate results in this memory: destroy it first.",
                path="$.mem",
                keyword="mem",
                limit=other.number,
            )
    destroy_memory(vision, mem)
    return success()

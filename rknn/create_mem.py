"""rknn_create_mem: allocate a tensor memory.

C: rknn_tensor_mem *rknn_create_mem(rknn_context ctx, uint32_t size)

With "reply_fds": true beside the method, the client gets its descriptor too and may map it.
"""

from __future__ import annotations

from typing import Any

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.vision.objects import Context, Matmul
from rkllmd.vision.parts import Vision
from rknn._common import ANY_CTX, KEEP, MEM
from rknn._memories import SIZE, add, check_room, made


@method(Kind.ORDERED, [ANY_CTX, SIZE, KEEP], changes=MEM.kinds)
def create_mem(
    vision: Vision, invocation: Invocation, ctx: Context | Matmul, size: int, keep: bool = False
) -> dict[str, Any]:
    """Return the handle of a new memory of ``size`` bytes."""
    check_room(vision, invocation, size)
    pointer = vision.runtime.pointer("rknn_create_mem", ctx.pointer, size)
    return add(vision, invocation, made(ctx, pointer, size), keep=keep)

"""rknn_create_mem_from_mb_blk: make a tensor memory of a block of Rockchip's media library.

C: rknn_tensor_mem *rknn_create_mem_from_mb_blk(rknn_context ctx, void *mb_blk, int32_t offset)

A block is a pointer inside the process that allocated it, so it can't cross a socket. Its dma-buf can: the client gets
it from RK_MPI_MB_Handle2Fd and sends it, and the daemon makes a memory of it as rknn.create_mem_from_fd does, from
``offset`` to its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context, Matmul
from rkllmd.vision.parts import Vision
from rknn._common import ANY_CTX, KEEP, MEM
from rknn._memories import FD, OFFSET
from rknn.create_mem_from_fd import memory_from_fd

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(Kind.ORDERED, [ANY_CTX, Value("mb_blk", FD, is_tensor=True), OFFSET, KEEP], changes=MEM.types)
def create_mem_from_mb_blk(
    vision: Vision,
    invocation: Invocation,
    ctx: Context | Matmul,
    mb_blk: Converted,
    offset: int = 0,
    keep: bool = False,
) -> JsonObject:
    """Return the handle of a memory over the block whose dma-buf came with the message."""
    return memory_from_fd(vision, invocation, ctx, mb_blk, {"offset": offset}, keep=keep)

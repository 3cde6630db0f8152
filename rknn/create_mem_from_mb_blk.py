"""rknn_create_mem_from_mb_blk: make a tensor memory of a block of Rockchip's media library.

C: rknn_tensor_mem *rknn_create_mem_from_mb_blk(rknn_context ctx, void *mb_blk, int32_t offset)

A block is a pointer inside the process that got it, so it can't cross a socket. Its dma-buf can: RK_MPI_MB_Handle2Fd
gives it, the client sends that, and it becomes a memory as with rknn.create_mem_from_fd, from ``offset`` to its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.vision.objects import Context, Matmul
from rkllmd.vision.parts import Vision
from rknn._common import ANY_CTX, KEEP, MEM
from rknn._memories import FD, OFFSET
from rknn.create_mem_from_fd import memory_from_fd

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(Kind.ORDERED, [ANY_CTX, Value("mb_blk", FD, is_tensor=True), OFFSET, KEEP], changes=MEM.kinds)
def create_mem_from_mb_blk(
    vision: Vision,
    invocation: Invocation,
    ctx: Context | Matmul,
    mb_blk: Converted,
    offset: int = 0,
    keep: bool = False,
) -> dict[str, Any]:
    """Return the handle of a memory over the block whose dma-buf came with the message."""
    return memory_from_fd(vision, invocation, ctx, mb_blk, {"offset": offset}, keep=keep)

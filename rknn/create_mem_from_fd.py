"""rknn_create_mem_from_fd: make a tensor memory of a client's dma-buf or memfd.

C: rknn_tensor_mem *rknn_create_mem_from_fd(rknn_context ctx, int32_t fd, void *virt_addr, uint32_t size,
       int32_t offset)

The descriptor comes with the message; the daemon maps it and keeps a descriptor of its own as long as the memory lives.
On a board the NPU reaches dma-bufs only.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rkllmd.calls.binding.attachments import span_of
from rkllmd.calls.declaration import COnly, Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.machine import shared_memory
from rkllmd.vision.objects import Context, Matmul
from rkllmd.vision.parts import Vision
from rknn._common import ANY_CTX, KEEP, MEM
from rknn._memories import FD, OFFSET, SIZE, add, check_room, made

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(
    Kind.ORDERED,
    [ANY_CTX, Value("fd", FD, is_tensor=True), COnly("virt_addr"), SIZE, OFFSET, KEEP],
    changes=MEM.kinds,
)
def create_mem_from_fd(
    vision: Vision,
    invocation: Invocation,
    ctx: Context | Matmul,
    fd: Converted,
    size: int,
    offset: int = 0,
    keep: bool = False,
) -> dict[str, Any]:
    """Return the handle of a memory over ``size`` bytes from ``offset`` of the descriptor."""
    return memory_from_fd(vision, invocation, ctx, fd, {"size": size, "offset": offset}, keep=keep)


def memory_from_fd(
    vision: Vision, invocation: Invocation, ctx: Context | Matmul, fd: Converted, span: dict[str, Any], *, keep: bool
) -> dict[str, Any]:
    """Make the memory, on the worker thread. Raises RpcError."""
    value = fd.json if isinstance(fd.json, dict) else {"fd": fd.json}
    theirs = fd.sources.descriptor(value, fd.path)
    offset, size = span_of(span, shared_memory.size_of(theirs, fd.path), fd.path, 1)
    check_room(vision, invocation, size)
    ours = os.dup(theirs)  # theirs is closed when this call is answered
    try:
        # The header calls virt_addr the address "without offset": of the beginning, not of the part.
        whole = shared_memory.map_shared(ours, 0, offset + size, fd.path)
        address = shared_memory.address_of(whole)
        pointer = vision.runtime.pointer("rknn_create_mem_from_fd", ctx.pointer, ours, address, size, offset)
    except BaseException:
        os.close(ours)
        raise
    memory = made(ctx, pointer, size)
    memory.fd, memory.mapping = ours, whole[offset:]
    return add(vision, invocation, memory, keep=keep)

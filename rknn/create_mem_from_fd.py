"""rknn_create_mem_from_fd: make a tensor memory of a client's dma-buf or memfd.

C: rknn_tensor_mem *rknn_create_mem_from_fd(rknn_context ctx, int32_t fd, void *virt_addr, uint32_t size,
       int32_t offset)

The descriptor comes with the message; the daemon maps it and keeps its own copy of it as long as the memory lives. On a
board the NPU can only reach dma-bufs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rkllmd.calls.binding.attachments import span_of
from rkllmd.calls.declaration import COnly, Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.machine import shared_memory
from rkllmd.vision.objects import Context, Matmul
from rkllmd.vision.parts import Vision
from rkllmd.wire.descriptors import Descriptors
from rknn._common import ANY_CTX, KEEP, MEM
from rknn._memories import FD, OFFSET, SIZE, add, check_limits, wrap

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(
    Kind.ORDERED,
    [ANY_CTX, Value("fd", FD, is_tensor=True), COnly("virt_addr"), SIZE, OFFSET, KEEP],
    changes=MEM.types,
)
def create_mem_from_fd(
    vision: Vision,
    invocation: Invocation,
    ctx: Context | Matmul,
    fd: Converted,
    size: int,
    offset: int = 0,
    keep: bool = False,
) -> JsonObject:
    """Return the handle of a memory over ``size`` bytes from ``offset`` of the descriptor."""
    return memory_from_fd(vision, invocation, ctx, fd, {"size": size, "offset": offset}, keep=keep)


def memory_from_fd(
    vision: Vision, invocation: Invocation, ctx: Context | Matmul, fd: Converted, span: JsonObject, *, keep: bool
) -> JsonObject:
    """Make the memory, on the worker thread. Raises RpcError."""
    value = fd.json if isinstance(fd.json, dict) else {"fd": fd.json}
    theirs = fd.sources.descriptor(value, fd.path)
    offset, size = span_of(span, shared_memory.size_of(theirs, fd.path), fd.path, 1)
    check_limits(vision, invocation, size)
    ours = Descriptors([os.dup(theirs)])  # theirs is closed when this call is answered
    try:
        # The header calls virt_addr the address "without offset": that of the beginning of the buffer, not of the part.
        whole = shared_memory.map_shared(ours[0], 0, offset + size, fd.path)
        address = shared_memory.address_of(whole)
        pointer = vision.runtime.create_memory("rknn_create_mem_from_fd", ctx.pointer, ours[0], address, size, offset)
    except BaseException:
        ours.close()
        raise
    memory = wrap(ctx, pointer, size)
    memory.descriptors, memory.mapping = ours, whole[offset:]
    return add(vision, invocation, memory, keep=keep)

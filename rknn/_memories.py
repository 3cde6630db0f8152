"""What the functions that make tensor memories share: limits, ownership, and the descriptor that shares one."""

from __future__ import annotations

import os
from typing import Final

from rkllmd.abi.c import Pointer
from rkllmd.abi.layouts.rknn import rknn_tensor_mem
from rkllmd.calls.declaration import Value
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.config import quotas
from rkllmd.errors import InvalidParams, NotSupported, OutOfMemory
from rkllmd.json_types import JsonObject
from rkllmd.machine import shared_memory
from rkllmd.vision.objects import Context, Matmul, TensorMemory
from rkllmd.vision.parts import Vision
from rkllmd.vision.release import destroy_memory
from rknn._common import check_handles, check_wanted

SIZE: Final = Value("size", {"type": "integer", "minimum": 1, "maximum": 2**32 - 1, "description": "In bytes."})
OFFSET: Final = Value("offset", {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}, required=False)
FD: Final = {
    "type": ["object", "integer"],
    "minimum": 0,
    "properties": {"fd": {"type": "integer", "minimum": 0}},
    "required": ["fd"],
    "additionalProperties": False,
    "description": "The n-th file descriptor of the message: {fd: n}, or just n.",
}


def check_limits(vision: Vision, invocation: Invocation, size: int) -> None:
    """Refuse more tensor memory than the user, or all clients together, may have.

    Raises OutOfMemory, PermissionDenied.
    """
    check_handles(vision, invocation)
    user, config, memories = invocation.client.user, vision.config, list(vision.memories)
    is_operator = user is None or config.is_operator(user)
    mine, taken = sum(item.size for item in memories if item.user == user), sum(item.size for item in memories)
    exceeded = quotas.memory(config).exceeded(mine, taken, is_operator=is_operator, more=size)
    if exceeded is not None:
        raise OutOfMemory(
            f"{exceeded.have} {exceeded.used} bytes of tensor memory; {size} more would exceed {exceeded.setting} "
            f"({exceeded.limit}): destroy memories that you no longer need.",
            needed_bytes=size,
            available_bytes=max(0, exceeded.limit - exceeded.used),
            reserve_bytes=0,
            loaded=[{"mem": item.number, "size_bytes": item.size} for item in memories][:64],
            **exceeded.data,
        )


def check_allocation(vision: Vision, invocation: Invocation, size: int) -> None:
    """Refuse a memory that C would allocate as ``check_limits`` does, and one for which the machine has no room.

    Raises OutOfMemory, PermissionDenied.
    """
    check_limits(vision, invocation, size)
    vision.memory_guard.check_bytes("The memory", size)


def check_size(memory: TensorMemory, needed: int, what: str) -> None:
    """Refuse a memory that is too small for ``what`` is to be in it. Raises InvalidParams."""
    if memory.size < needed:
        raise InvalidParams(
            f"$.mem has {memory.size} bytes, but {what} takes {needed}.", path="$.mem", keyword="minimum", limit=needed
        )


def add(vision: Vision, invocation: Invocation, memory: TensorMemory, *, keep: bool) -> JsonObject:
    """Give a memory its handle; return the result, with the descriptor that shares it if the client asked for that.

    Raises NotSupported, and Cancelled if nobody waits for the memory any more.
    """
    try:
        check_wanted(vision, invocation)
    except BaseException:
        destroy_memory(vision, memory)
        raise
    if not memory.struct.virt_addr:
        destroy_memory(vision, memory)
        raise NotSupported(
            "The runtime made a memory without an address in this process.",
            runtime=vision.runtime.library.runtime,
            needs="-",
        )
    memory.user = invocation.client.user
    memory.number = vision.memories.add(memory, None if keep else invocation.client.number)
    result = success(mem=memory.number, size=memory.size)
    if invocation.call.members.reply_fds:
        fd = memory.struct.fd
        if fd < 0 or not shared_memory.is_sealed(fd):
            destroy_memory(vision, memory)
            raise NotSupported(
                "This memory has no descriptor that can be shared without danger: leave reply_fds out.",
                runtime=vision.runtime.library.runtime,
                needs="a runtime whose memories are dma-bufs or sealed memfds",
            )
        result |= invocation.attach(os.dup(fd), offset=memory.struct.offset)
    return result


def wrap(ctx: Context | Matmul | None, pointer: Pointer[rknn_tensor_mem], size: int) -> TensorMemory:
    """Return the object for a memory that C has made; its size is the smaller of C's and the one that was asked for."""
    return TensorMemory(parent=ctx, pointer=pointer, size=min(size, pointer.contents.size))

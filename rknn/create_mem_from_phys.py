"""rknn_create_mem_from_phys: make a tensor memory of physical memory.

C: rknn_tensor_mem *rknn_create_mem_from_phys(rknn_context ctx, uint64_t phys_addr, void *virt_addr, uint32_t size)

A client that may name physical addresses may read and write everything in the machine, so this is refused unless the
configuration says allow_physical_addresses. ``virt_addr`` would be an address in another process, so it stays NULL.
"""

from __future__ import annotations

from rkllmd.calls.declaration import COnly, Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.errors import PermissionDenied
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context, Matmul
from rkllmd.vision.parts import Vision
from rknn._common import ANY_CTX, KEEP, MEM
from rknn._memories import SIZE, add, check_limits, wrap

_PHYS_ADDR = Value("phys_addr", {"type": "integer", "minimum": 0, "maximum": 2**64 - 1})


def _check(vision: Vision, invocation: Invocation, **_: object) -> None:
    if not vision.config.allow_physical_addresses:
        raise PermissionDenied(
            "Physical addresses are not allowed here (allow_physical_addresses): send a dma-buf to "
            "rknn.create_mem_from_fd.",
            setting="allow_physical_addresses",
        )


@method(Kind.ORDERED, [ANY_CTX, _PHYS_ADDR, COnly("virt_addr"), SIZE, KEEP], check=_check, changes=MEM.types)
def create_mem_from_phys(
    vision: Vision, invocation: Invocation, ctx: Context | Matmul, phys_addr: int, size: int, keep: bool = False
) -> JsonObject:
    """Return the handle of a memory over ``size`` bytes of physical memory."""
    check_limits(vision, invocation, size)
    pointer = vision.runtime.create_memory("rknn_create_mem_from_phys", ctx.pointer, phys_addr, None, size)
    return add(vision, invocation, wrap(ctx, pointer, size), keep=keep)

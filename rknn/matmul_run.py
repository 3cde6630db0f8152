"""rknn_matmul_run: multiply the matrices in the bound memories.

C: int rknn_matmul_run(rknn_matmul_ctx ctx)
"""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.errors import InvalidParams
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Matmul
from rkllmd.vision.parts import Vision
from rknn._common import MATMUL
from rknn._matmul import MATRICES


@method(Kind.NPU, [MATMUL], proves_npu=True)
def matmul_run(vision: Vision, invocation: Invocation, matmul: Matmul) -> JsonObject:
    """Run; A, B and C must be bound to memories that still exist and are large enough."""
    io_attr = matmul.io_attrs[matmul.shape_index]
    for letter in MATRICES:
        memory = matmul.bindings.get(letter)
        if memory is None or not memory.is_alive or memory.size < getattr(io_attr, letter).size:
            raise InvalidParams(
                f"{letter} is bound to no memory that fits: call rknn.matmul_set_io_mem first.",
                path="$",
                keyword="mem",
                limit=getattr(io_attr, letter).size,
            )
    vision.runtime.call("rknn_matmul_run", matmul.pointer)
    return success()

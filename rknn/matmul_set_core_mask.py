"""rknn_matmul_set_core_mask: choose the NPU cores that a matmul context runs on.

C: int rknn_matmul_set_core_mask(rknn_matmul_ctx context, rknn_core_mask core_mask)
"""

from __future__ import annotations

from rkllmd.abi.layouts.rknn_constants import rknn_core_mask
from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Matmul
from rkllmd.vision.parts import Vision
from rknn._common import CORE_MASK, MATMUL_CONTEXT, member_of


@method(Kind.ORDERED, [MATMUL_CONTEXT, CORE_MASK], alters="matmul")
def matmul_set_core_mask(vision: Vision, invocation: Invocation, matmul: Matmul, core_mask: str | int) -> JsonObject:
    """Set the mask for the runs that follow."""
    cores = vision.board.check_cores(member_of(rknn_core_mask, core_mask), "$.core_mask")
    vision.runtime.call("rknn_matmul_set_core_mask", matmul.pointer, cores)
    return success()

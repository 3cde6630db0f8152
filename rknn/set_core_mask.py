"""rknn_set_core_mask: choose the NPU cores that a context runs on.

C: int rknn_set_core_mask(rknn_context context, rknn_core_mask core_mask)
"""

from __future__ import annotations

from rkllmd.abi.layouts.rknn_constants import rknn_core_mask
from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rknn._common import CONTEXT, CORE_MASK, member_of


@method(Kind.ORDERED, [CONTEXT, CORE_MASK], alters="ctx")
def set_core_mask(vision: Vision, invocation: Invocation, ctx: Context, core_mask: str | int) -> JsonObject:
    """Set the mask for the runs that follow."""
    cores = vision.board.check_cores(member_of(rknn_core_mask, core_mask), "$.core_mask")
    vision.runtime.call("rknn_set_core_mask", ctx.pointer, cores)
    return success()

"""rknn_set_core_mask: choose the NPU cores that a context runs on.

C: int rknn_set_core_mask(rknn_context context, rknn_core_mask core_mask)
"""

from __future__ import annotations

from typing import Any

from rkllmd import soc
from rkllmd.abi.rknn_constants import rknn_core_mask
from rkllmd.context import Invocation
from rkllmd.method import Kind, method
from rkllmd.rknn_handles import Context
from rknn._common import CONTEXT, CORE_MASK, member_of, success


@method(Kind.ORDERED, [CONTEXT, CORE_MASK])
def set_core_mask(invocation: Invocation, ctx: Context, core_mask: Any) -> dict[str, Any]:
    """Set the mask for the runs that follow."""
    cores = soc.check_cores(invocation.context, member_of(rknn_core_mask, core_mask), "$.core_mask")
    invocation.rknn.call("rknn_set_core_mask", ctx.pointer, cores)
    return success()

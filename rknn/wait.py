"""rknn_wait: wait for a run that was begun with non_block.

C: int rknn_wait(rknn_context context, rknn_run_extend *extend)
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rkllmd import rknn_runs
from rkllmd.context import Invocation
from rkllmd.method import Kind, method
from rkllmd.rknn_handles import Context
from rknn._attributes import learn_run
from rknn._common import CONTEXT, success
from rknn._inference import EXTEND, run_extend

if TYPE_CHECKING:
    from rkllmd.dispatch import Converted


@method(Kind.NPU, [CONTEXT, EXTEND])
def wait(invocation: Invocation, ctx: Context, extend: Converted | None = None) -> dict[str, Any]:
    """Return when the run is over, or fail with RKNN_ERR_TIMEOUT after extend.timeout_ms."""
    c_extend = run_extend(extend)
    if rknn_runs.tell_end(ctx):
        learn_run(invocation.rknn, ctx)
        return success(frame_id=ctx.runs)
    rknn_runs.wait(invocation, ctx, partial(invocation.rknn.call, "rknn_wait", ctx.pointer, c_extend))
    learn_run(invocation.rknn, ctx)
    return success(frame_id=c_extend.frame_id)

"""rknn_wait: wait for the end of a run that was begun with non_block.

C: int rknn_wait(rknn_context context, rknn_run_extend *extend)
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision import runs
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rknn._attributes import learn_run
from rknn._common import CONTEXT
from rknn._inference import EXTEND, ends_when_it_returns, run_extend

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(Kind.NPU, [CONTEXT, EXTEND], fits_between_tokens=ends_when_it_returns, ends_runs=True)
def wait(vision: Vision, invocation: Invocation, ctx: Context, extend: Converted | None = None) -> JsonObject:
    """Return when the run has ended, or fail with RKNN_ERR_TIMEOUT after extend.timeout_ms."""
    c_extend = run_extend(extend)
    if runs.has_ended(ctx):
        learn_run(vision.runtime, ctx)
        return success(frame_id=ctx.run_count)
    runs.wait(vision, invocation, ctx, partial(vision.runtime.call, "rknn_wait", ctx.pointer, c_extend))
    learn_run(vision.runtime, ctx)
    return success(frame_id=c_extend.frame_id)

"""What the functions that make contexts share: a new context's handle and result."""

from __future__ import annotations

from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.machine.c_runtime import no_handle
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rkllmd.vision.release import destroy, destroy_left
from rknn._attributes import learn
from rknn._common import check_wanted


def add(vision: Vision, invocation: Invocation, ctx: Context, *, keep: bool, cores: int | None = None) -> JsonObject:
    """Learn what a new context is and give it its handle, to run on these ``cores``; return the result.

    If that fails, the context is destroyed. Raises RuntimeFailure, and Cancelled if nobody waits for the context.
    """
    if not ctx.pointer:
        raise no_handle(invocation.method.c_function or invocation.method.name, 0, [])
    try:
        learn(vision.runtime, ctx)
        if cores is not None:
            vision.runtime.call("rknn_set_core_mask", ctx.pointer, cores)
        check_wanted(vision, invocation)
    except BaseException:
        destroy(vision, ctx)
        raise
    ctx.user = invocation.client.user
    ctx.number = vision.contexts.add(ctx, None if keep else invocation.client.number)
    destroy_left(vision)
    return success(context=ctx.number, n_input=len(ctx.inputs), n_output=len(ctx.outputs))

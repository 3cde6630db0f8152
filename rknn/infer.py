"""rknn.infer: set the inputs, run, get the outputs and release them, in one round trip.

It is not a C function; it saves clients four of five calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.calls.binding.attachments import Attachments
from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rkllmd.vision.release import release_outputs
from rknn._common import CONTEXT
from rknn._given_inputs import needs_inputs, set_given_inputs
from rknn._inference import INPUT_DATA, INPUTS, either, run_extend, run_once
from rknn._outputs import ENCODING, TOP_K, WANT_FLOAT, all_outputs, get_outputs

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(Kind.NPU, [CONTEXT, INPUTS, INPUT_DATA, WANT_FLOAT, ENCODING, TOP_K], proves_npu=True)
def infer(
    vision: Vision,
    invocation: Invocation,
    ctx: Context,
    inputs: Converted | None = None,
    input_data: Converted | None = None,
    want_float: bool = False,
    encoding: str = "base64",
    top_k: int | None = None,
) -> JsonObject:
    """Return the outputs for these inputs."""
    given = either(inputs, input_data)
    needs_inputs(ctx, given, "rknn.infer")
    if given is not None:
        set_given_inputs(vision, invocation, ctx, given)
    run_once(vision, invocation, ctx, run_extend(None))
    requests = all_outputs(ctx, want_float=bool(want_float), top_k=top_k)
    result = get_outputs(vision, invocation, ctx, requests, "$", Attachments(), encoding=encoding, top_k=top_k)
    release_outputs(vision, ctx, ctx.pointer)
    return success(outputs=result["outputs"])

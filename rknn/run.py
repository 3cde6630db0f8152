"""rknn_run: run the model on the inputs that were set; if asked to, also set the inputs and return the outputs.

C: int rknn_run(rknn_context context, rknn_run_extend *extend)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.calls.binding.attachments import Attachments
from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.errors import InvalidParams
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rkllmd.vision.release import release_outputs
from rknn._common import CONTEXT
from rknn._given_inputs import set_given_inputs
from rknn._inference import EXTEND, INPUT_DATA, INPUTS, either, ends_when_it_returns, run_extend, run_once
from rknn._outputs import ENCODING, TOP_K, WANT_FLOAT, all_outputs, get_outputs

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted

_OUTPUTS = Value(
    "outputs", {"type": "boolean", "description": "Return the outputs as well."}, required=False, in_c=False
)


@method(
    Kind.NPU,
    [CONTEXT, EXTEND, INPUT_DATA, INPUTS, _OUTPUTS, WANT_FLOAT, ENCODING, TOP_K],
    fits_between_tokens=ends_when_it_returns,
    proves_npu=True,
)
def run(
    vision: Vision,
    invocation: Invocation,
    ctx: Context,
    extend: Converted | None = None,
    input_data: Converted | None = None,
    inputs: Converted | None = None,
    outputs: bool = False,
    want_float: bool = False,
    encoding: str = "base64",
    top_k: int | None = None,
) -> JsonObject:
    """Run the model; with extend.non_block only begin to, and rknn.wait waits for the end."""
    given = either(inputs, input_data)
    c_extend = run_extend(extend)
    if c_extend.non_block and outputs:
        raise InvalidParams(
            "A run that does not block can't return its outputs: call rknn.wait and then rknn.outputs_get.",
            path="$.outputs",
            keyword="const",
            limit=False,
        )
    if given is not None:
        set_given_inputs(vision, invocation, ctx, given)
    run_once(vision, invocation, ctx, c_extend)
    result = success(frame_id=c_extend.frame_id)
    if outputs:
        requests = all_outputs(ctx, want_float=bool(want_float), top_k=top_k)
        result |= get_outputs(
            vision, invocation, ctx, requests, "$.outputs", Attachments(), encoding=encoding, top_k=top_k
        )
        release_outputs(vision, ctx, ctx.pointer)
    return result

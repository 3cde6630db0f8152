"""rknn_inputs_set: give the inputs of the next run.

C: int rknn_inputs_set(rknn_context context, uint32_t n_inputs, rknn_input inputs[])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.calls.declaration import Count, Kind, StructParameter, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rknn._common import CONTEXT
from rknn._given_inputs import set_given_inputs

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(
    Kind.NPU,
    [
        CONTEXT,
        Count("n_inputs", of="inputs"),
        StructParameter("inputs", "rknn_input", many=True, raw=True, example="buf", or_tensors=True),
    ],
)
def inputs_set(vision: Vision, invocation: Invocation, ctx: Context, inputs: Converted) -> JsonObject:
    """Copy the inputs into the context; the type, format and index may be left out."""
    set_given_inputs(vision, invocation, ctx, inputs)
    return success()

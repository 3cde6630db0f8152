"""rknn_outputs_release: give the buffers of the last rknn.outputs_get back to the runtime.

C: int rknn_outputs_release(rknn_context context, uint32_t n_ouputs, rknn_output outputs[])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.calls.declaration import Count, Kind, StructParameter, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rkllmd.vision.release import release_outputs
from rknn._common import CONTEXT

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(
    Kind.ORDERED,
    [
        CONTEXT,
        Count("n_ouputs", of="outputs", alone=True, aliases=("n_outputs", "num_outputs")),
        StructParameter("outputs", "rknn_output", required=False, many=True, raw=True),
    ],
)
def outputs_release(
    vision: Vision, invocation: Invocation, ctx: Context, outputs: Converted | None = None, n_ouputs: int | None = None
) -> JsonObject:
    """Release all of them, whichever are named, since C got them together. Nothing happens if none are held."""
    release_outputs(vision, ctx, ctx.pointer)
    return success()

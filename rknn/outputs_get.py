"""rknn_outputs_get: return the outputs of the last run.

C: int rknn_outputs_get(rknn_context context, uint32_t n_outputs, rknn_output outputs[], rknn_output_extend *extend)

An output with ``is_prealloc`` is written to ``buf``, which is a tensor memory ``{"mem": n}`` or the client's own memory
``{"fd": n}``; the result then does not contain its bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.calls.binding.attachments import Attachments
from rkllmd.calls.declaration import Kind, StructParameter, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rkllmd.vision.runs import has_ended
from rknn._common import CONTEXT
from rknn._outputs import ENCODING, EXTEND, N_OUTPUTS, TOP_K, WANT_FLOAT, all_outputs, get_outputs, needs_float

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(
    Kind.NPU,
    [
        CONTEXT,
        N_OUTPUTS,
        StructParameter("outputs", "rknn_output", required=False, many=True, raw=True),
        EXTEND,
        WANT_FLOAT,
        ENCODING,
        TOP_K,
    ],
    ends_runs=True,
)
def outputs_get(
    vision: Vision,
    invocation: Invocation,
    ctx: Context,
    outputs: Converted | None = None,
    n_outputs: int | None = None,
    extend: JsonObject | None = None,
    want_float: bool = False,
    encoding: str = "base64",
    top_k: int | None = None,
) -> JsonObject:
    """Return all outputs, or those asked for; the runtime's buffers are held until rknn.outputs_release."""
    has_ended(ctx)  # raises the error of a failed run, instead of returning the outputs of the run before
    wants = bool(want_float)
    if outputs is None:
        sources, path = Attachments(), "$.outputs"
        requests = all_outputs(ctx, want_float=wants, top_k=top_k, count=n_outputs)
    else:
        sources, path = outputs.sources, outputs.path
        requests = []
        for position, (json, place) in enumerate(outputs.elements):
            index = int(json.get("index", position))
            requests.append(
                ({"want_float": needs_float(ctx, index, want_float=wants, top_k=top_k), **json}, place),
            )
    return success(**get_outputs(vision, invocation, ctx, requests, path, sources, encoding=encoding, top_k=top_k))

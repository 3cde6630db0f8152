"""rknn_set_input_shapes: set the shapes of all inputs of a model with dynamic shapes.

C: int rknn_set_input_shapes(rknn_context ctx, uint32_t n_inputs, rknn_tensor_attr attr[])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.abi.layouts.rknn import rknn_tensor_attr
from rkllmd.calls.declaration import Count, Kind, StructParameter, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.errors import InvalidParams
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rknn._attributes import SHAPE_FIELDS, attr_of, learn_current
from rknn._common import CTX

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(
    Kind.ORDERED,
    [
        CTX,
        Count("n_inputs", of="attr"),
        StructParameter("attr", "rknn_tensor_attr", many=True, raw=True, required_fields=["dims"]),
    ],
    alters="ctx",
)
def set_input_shapes(vision: Vision, invocation: Invocation, ctx: Context, attr: Converted) -> JsonObject:
    """Set the shapes, one for each input; if an index is left out, it is the position in the array."""
    items = attr.elements
    if len(items) != len(ctx.inputs):
        limit = len(ctx.inputs)
        raise InvalidParams(f"{attr.path} must have {limit} items, one for each input.", path=attr.path, limit=limit)
    given = [
        attr_of(ctx, {"index": index, **item}, place, SHAPE_FIELDS, output=False)
        for index, (item, place) in enumerate(items)
    ]
    attrs = (rknn_tensor_attr * len(given))(*given)
    vision.runtime.call("rknn_set_input_shapes", ctx.pointer, len(given), attrs)
    learn_current(vision.runtime, ctx)
    return success()

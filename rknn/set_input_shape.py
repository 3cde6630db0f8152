"""rknn_set_input_shape: set the shape of the only input of a model with dynamic shapes.

C: int rknn_set_input_shape(rknn_context ctx, rknn_tensor_attr *attr)

The vendor's header calls it deprecated: rknn.set_input_shapes takes all inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.abi.c import byref
from rkllmd.calls.declaration import Kind, StructParameter, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rknn._attributes import SHAPE_FIELDS, attr_of, learn_current
from rknn._common import CTX

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(
    Kind.ORDERED, [CTX, StructParameter("attr", "rknn_tensor_attr", raw=True, required_fields=["dims"])], alters="ctx"
)
def set_input_shape(vision: Vision, invocation: Invocation, ctx: Context, attr: Converted) -> JsonObject:
    """Set the shape; attributes that are left out stay as they were."""
    c_attr = attr_of(ctx, attr.json, attr.path, SHAPE_FIELDS, output=False)
    vision.runtime.call("rknn_set_input_shape", ctx.pointer, byref(c_attr))
    learn_current(vision.runtime, ctx)
    return success()

"""rknn_matmul_set_dynamic_shape: choose one of the shapes that a matmul context was made for.

C: int rknn_matmul_set_dynamic_shape(rknn_matmul_ctx ctx, rknn_matmul_shape *shape)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.abi.c import byref
from rkllmd.abi.json.convert import to_c
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_shape
from rkllmd.calls.declaration import Kind, StructParameter, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.errors import InvalidParams
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Matmul
from rkllmd.vision.parts import Vision
from rknn._common import MATMUL
from rknn._matmul import describe_io

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(
    Kind.ORDERED,
    [MATMUL, StructParameter("shape", "rknn_matmul_shape", raw=True, required_fields=["M", "K", "N"])],
    alters="matmul",
)
def matmul_set_dynamic_shape(vision: Vision, invocation: Invocation, matmul: Matmul, shape: Converted) -> JsonObject:
    """Set the shape; return the new layout of A, B and C. Bind A and C again, and B too if its K or N has changed."""
    c_shape = to_c(shape.json, rknn_matmul_shape, shape.path, [])
    wanted = (c_shape.M, c_shape.K, c_shape.N)
    if wanted not in matmul.shapes:
        raise InvalidParams(
            f"{shape.path} is not one of the shapes that the context was made for.",
            path=shape.path,
            keyword="enum",
            limit=[list(item) for item in matmul.shapes[:64]],
        )
    vision.runtime.call("rknn_matmul_set_dynamic_shape", matmul.pointer, byref(c_shape))
    before = matmul.shapes[matmul.shape_index]
    for letter in "AC" if before[1:] == wanted[1:] else "ABC":
        matmul.bindings.pop(letter, None)
    matmul.shape_index = matmul.shapes.index(wanted)
    return success(io_attr=describe_io(matmul.io_attrs[matmul.shape_index]))

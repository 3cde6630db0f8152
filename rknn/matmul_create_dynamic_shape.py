"""rknn_matmul_create_dynamic_shape: make a matmul context that can switch between several shapes.

C: int rknn_matmul_create_dynamic_shape(rknn_matmul_ctx *ctx, rknn_matmul_info *info, int shape_num,
       rknn_matmul_shape dynamic_shapes[], rknn_matmul_io_attr io_attrs[])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.abi.c import byref
from rkllmd.abi.json.convert import to_c_array
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_io_attr, rknn_matmul_shape
from rkllmd.calls.declaration import COnly, Count, Kind, StructParameter, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Matmul
from rkllmd.vision.parts import Vision
from rknn._common import KEEP, MATMUL, check_handles
from rknn._matmul import add, check_shape, describe_io, info_from

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(
    Kind.NPU,
    [
        COnly("ctx"),
        StructParameter("info", "rknn_matmul_info", raw=True, required_fields=["type"]),
        Count("shape_num", of="dynamic_shapes"),
        StructParameter("dynamic_shapes", "rknn_matmul_shape", many=True, raw=True, required_fields=["M", "K", "N"]),
        COnly("io_attrs"),
        KEEP,
    ],
    changes=MATMUL.types,
    fits_between_tokens=False,
)
def matmul_create_dynamic_shape(
    vision: Vision, invocation: Invocation, info: Converted, dynamic_shapes: Converted, keep: bool = False
) -> JsonObject:
    """Return the context and io_attrs, one for each shape; the first shape is set."""
    check_handles(vision, invocation)
    items = dynamic_shapes.json if isinstance(dynamic_shapes.json, list) else [dynamic_shapes.json]
    shapes = to_c_array(items, rknn_matmul_shape, dynamic_shapes.path, dynamic_shapes.keep)
    for shape, (_, place) in zip(shapes, dynamic_shapes.elements, strict=True):
        check_shape((shape.M, shape.K, shape.N), place)
    first = {"M": shapes[0].M, "K": shapes[0].K, "N": shapes[0].N}
    c_info = info_from({**first, **info.json}, info.path)
    io_attrs = (rknn_matmul_io_attr * len(items))()
    matmul = Matmul([*io_attrs], [(shape.M, shape.K, shape.N) for shape in shapes], c_info.type)
    matmul.keep_alive.append(io_attrs)
    vision.runtime.call(
        "rknn_matmul_create_dynamic_shape", byref(matmul.pointer), byref(c_info), len(items), shapes, io_attrs
    )
    add(vision, invocation, matmul, keep=keep)
    return success(context=matmul.number, io_attrs=[describe_io(io_attr) for io_attr in io_attrs])

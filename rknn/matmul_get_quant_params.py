"""rknn_matmul_get_quant_params: return the scales of one matrix, and the normalising one.

C: int rknn_matmul_get_quant_params(rknn_matmul_ctx ctx, rknn_quant_params *params, float *scale)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from rkllmd.abi.c import POINTER, byref, c_float, c_int32, cast
from rkllmd.abi.json.from_c import shortest
from rkllmd.abi.layouts.rknn_matmul import rknn_quant_params
from rkllmd.calls.declaration import COnly, Kind, StructParameter, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Matmul
from rkllmd.vision.parts import Vision
from rknn._common import MATMUL
from rknn._matmul import matrix

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted

_SMALLEST_GROUP: Final = 32


@method(
    Kind.ORDERED,
    [MATMUL, StructParameter("params", "rknn_quant_params", raw=True, required_fields=["name"]), COnly("scale")],
)
def matmul_get_quant_params(vision: Vision, invocation: Invocation, matmul: Matmul, params: Converted) -> JsonObject:
    """Return scale (a number), and params: the scales and zero points that the runtime gives."""
    _, attr = matrix(matmul, {"name": params.json["name"]}, params.path)
    # The header does not say who owns the arrays. In case the runtime writes to them, there is space for one element
    # per channel or group; afterwards they are read from wherever they point to.
    dims = attr.dims[: min(attr.n_dims, len(attr.dims))]
    capacity = max(1, *dims, math.prod(dims) // _SMALLEST_GROUP)
    scales, zero_points = (c_float * capacity)(), (c_int32 * capacity)()
    c_params = rknn_quant_params(
        name=attr.name, scale=cast(scales, POINTER(c_float)), zp=cast(zero_points, POINTER(c_int32))
    )
    scale = c_float()
    vision.runtime.call("rknn_matmul_get_quant_params", matmul.pointer, byref(c_params), byref(scale))
    given_scales = c_params.scale[: min(c_params.scale_len, capacity)] if c_params.scale else []
    given_zero_points = c_params.zp[: min(c_params.zp_len, capacity)] if c_params.zp else []
    return success(
        scale=shortest(scale.value),
        params={
            "name": attr.name.decode("utf-8", "replace"),
            "scale": [shortest(value) for value in given_scales],
            "zp": list(given_zero_points),
        },
    )

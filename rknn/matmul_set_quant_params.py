"""rknn_matmul_set_quant_params: give the scales and zero points of one matrix.

C: int rknn_matmul_set_quant_params(rknn_matmul_ctx context, rknn_quant_params *params)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.abi.c import byref
from rkllmd.abi.json.convert import to_c
from rkllmd.abi.layouts.rknn_matmul import rknn_quant_params
from rkllmd.calls.declaration import Kind, StructParameter, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Matmul
from rkllmd.vision.parts import Vision
from rknn._common import MATMUL_CONTEXT
from rknn._matmul import matrix

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(
    Kind.ORDERED,
    [MATMUL_CONTEXT, StructParameter("params", "rknn_quant_params", raw=True, required_fields=["name", "scale"])],
    alters="matmul",
)
def matmul_set_quant_params(vision: Vision, invocation: Invocation, matmul: Matmul, params: Converted) -> JsonObject:
    """Set them; scale is float32 and zp int32, one for the whole layer, or one for each channel or group."""
    keep: list[object] = []
    letter, attr = matrix(matmul, {"name": params.json["name"]}, params.path)
    json = {**params.json, "name": attr.name.decode("utf-8", "replace")}
    c_params = to_c(json, rknn_quant_params, params.path, keep, sources=params.sources)
    vision.runtime.call("rknn_matmul_set_quant_params", matmul.pointer, byref(c_params))
    # Whether the runtime copies them is not documented.
    matmul.quant_params[letter] = (c_params, keep)
    return success(scale_len=c_params.scale_len, zp_len=c_params.zp_len)

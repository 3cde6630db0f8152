"""rknn_matmul_create: make a context that multiplies matrices, C = A x B.

C: int rknn_matmul_create(rknn_matmul_ctx *ctx, rknn_matmul_info *info, rknn_matmul_io_attr *io_attr)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.abi.c import byref
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_io_attr
from rkllmd.calls.declaration import COnly, Kind, StructParameter, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Matmul
from rkllmd.vision.parts import Vision
from rknn._common import KEEP, MATMUL, check_handles
from rknn._matmul import add, describe_io, info_from

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(
    Kind.NPU,
    [
        COnly("ctx"),
        StructParameter("info", "rknn_matmul_info", raw=True, required_fields=["M", "K", "N", "type"]),
        COnly("io_attr"),
        KEEP,
    ],
    changes=MATMUL.types,
    fits_between_tokens=False,
)
def matmul_create(vision: Vision, invocation: Invocation, info: Converted, keep: bool = False) -> JsonObject:
    """Return the context, and the layout of A, B and C (io_attr): allocate memories of these sizes."""
    check_handles(vision, invocation)
    c_info = info_from(info.json, info.path)
    io_attr = rknn_matmul_io_attr()
    matmul = Matmul([io_attr], [(c_info.M, c_info.K, c_info.N)], c_info.type)
    vision.runtime.call("rknn_matmul_create", byref(matmul.pointer), byref(c_info), byref(io_attr))
    add(vision, invocation, matmul, keep=keep)
    return success(context=matmul.number, io_attr=describe_io(io_attr))

"""rknn_matmul_set_io_mem: say in which tensor memory A, B or C lies.

C: int rknn_matmul_set_io_mem(rknn_matmul_ctx ctx, rknn_tensor_mem *mem, rknn_matmul_tensor_attr *attr)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.abi.c import byref
from rkllmd.calls.declaration import Kind, StructParameter, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Matmul, TensorMemory
from rkllmd.vision.parts import Vision
from rknn._common import MATMUL, MEM
from rknn._matmul import matrix
from rknn._memories import check_size

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(
    Kind.ORDERED,
    [MATMUL, MEM, StructParameter("attr", "rknn_matmul_tensor_attr", raw=True, required_fields=["name"])],
    alters="matmul",
)
def matmul_set_io_mem(
    vision: Vision, invocation: Invocation, matmul: Matmul, mem: TensorMemory, attr: Converted
) -> JsonObject:
    """Bind the memory; the name of the attributes says which matrix (A, B or C)."""
    letter, c_attr = matrix(matmul, attr.json, attr.path)
    check_size(mem, c_attr.size, letter)
    vision.runtime.call("rknn_matmul_set_io_mem", matmul.pointer, mem.pointer, byref(c_attr))
    matmul.bindings[letter] = mem
    return success(size=c_attr.size)

"""rknn_set_io_mem: let the runs that follow read an input from a tensor memory, or write an output to it.

C: int rknn_set_io_mem(rknn_context ctx, rknn_tensor_mem *mem, rknn_tensor_attr *attr)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.abi.c import byref
from rkllmd.calls.declaration import Kind, StructParameter, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context, TensorMemory
from rkllmd.vision.parts import Vision
from rknn._attributes import MEMORY_FIELDS, as_now, attr_of, bytes_needed, is_output
from rknn._common import CTX, MEM
from rknn._memories import check_size

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted

_OUTPUT = Value(
    "output",
    {"type": "boolean", "description": "attr's index is that of an output; not needed if attr has a name."},
    required=False,
    in_c=False,
)


@method(
    Kind.ORDERED,
    [CTX, MEM, StructParameter("attr", "rknn_tensor_attr", raw=True, example="index"), _OUTPUT],
    alters="ctx",
)
def set_io_mem(
    vision: Vision, invocation: Invocation, ctx: Context, mem: TensorMemory, attr: Converted, output: bool | None = None
) -> JsonObject:
    """Bind the memory; attr's name or index says which tensor, its type, fmt and pass_through say how it is stored."""
    c_attr = attr_of(ctx, attr.json, attr.path, MEMORY_FIELDS, output=output)
    is_an_output = is_output(ctx, c_attr) or bool(output)
    needed = bytes_needed(c_attr, as_now(ctx, c_attr, output=is_an_output))
    check_size(mem, needed, "the tensor")
    vision.runtime.call("rknn_set_io_mem", ctx.pointer, mem.pointer, byref(c_attr))
    ctx.bindings[is_an_output, c_attr.index] = (mem, c_attr)
    return success(size=needed)

"""rknn_mem_sync: make the CPU and the NPU see the same contents of a tensor memory.

C: int rknn_mem_sync(rknn_context context, rknn_tensor_mem *mem, rknn_mem_sync_mode mode)

A program in C writes through virt_addr before it syncs to the device, and reads after it has synced from the device.
Over a socket both go with the call: ``data`` is written at ``offset`` before the sync, and ``read`` returns ``size``
bytes from ``offset`` after it. For a memory that belongs to no context, C is given the one that the client names, or
the only one that there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.abi.c import memmove
from rkllmd.abi.json import schemas
from rkllmd.abi.json.tensors import DTYPES, byte_size, read_buffer, to_numbers
from rkllmd.abi.layouts.rknn_constants import rknn_mem_sync_mode
from rkllmd.calls.binding.attachments import span_of
from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.handles import Registry, resolve
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.errors import InvalidParams
from rkllmd.json_types import JsonObject
from rkllmd.machine import shared_memory
from rkllmd.vision.objects import Context, Matmul, TensorMemory
from rkllmd.vision.parts import Vision
from rknn._common import ANY_CONTEXT, MEM, check_belongs, enum_schema, member_of
from rknn._outputs import ENCODING, check_few

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted

_BYTES = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
_DATA = Value("data", schemas.TENSOR, required=False, in_c=False, is_tensor=True)
_DTYPE = Value(
    "dtype",
    {"enum": list(DTYPES), "description": "The type of numbers in data, and of what is read; uint8 if left out."},
    required=False,
    in_c=False,
)
_READ = Value(
    "read", {"type": "boolean", "description": "Return the contents after the sync."}, required=False, in_c=False
)


@method(
    Kind.ORDERED,
    [
        ANY_CONTEXT,
        MEM,
        Value("mode", enum_schema(rknn_mem_sync_mode)),
        _DATA,
        _READ,
        _DTYPE,
        ENCODING,
        Value("offset", _BYTES, required=False, in_c=False),
        Value("size", _BYTES, required=False, in_c=False),
    ],
)
def mem_sync(
    vision: Vision,
    invocation: Invocation,
    ctx: Context | Matmul | None,
    mem: TensorMemory,
    mode: str | int,
    data: Converted | None = None,
    read: bool = False,
    dtype: str = "uint8",
    encoding: str = "base64",
    **span: int,
) -> JsonObject:
    """Write if there is data, sync, and read if that was asked for."""
    check_belongs(mem, ctx)
    if ctx is None:
        either: list[Registry[Context | Matmul]] = [vision.contexts, vision.matmuls]
        ctx = resolve(either, None, invocation.client.number)
    offset, size = span_of(span, mem.size, "$", 1)
    if data is not None:
        buffer = read_buffer(data.json, dtype, data.path, data.sources)
        if buffer.size > size:
            raise InvalidParams(
                f"{data.path} has {buffer.size} bytes, but only {size} follow the offset.",
                path=data.path,
                keyword="maximum",
                limit=size,
            )
        if buffer.size:
            place, source = mem.view(offset, buffer.size), memoryview(buffer.data).cast("B")
            # Not by assignment, which would hold Python's lock, and so stop the event loop, while it copies.
            memmove(shared_memory.address_of(place), shared_memory.address_of(source), buffer.size)
    vision.runtime.call("rknn_mem_sync", ctx.pointer, mem.pointer, member_of(rknn_mem_sync_mode, mode))
    result = success()
    if read:
        path = "$.size" if "size" in span else "$.dtype"
        result |= _contents(vision, invocation, mem.view(offset, size), dtype, encoding, path)
    return result


def _contents(
    vision: Vision, invocation: Invocation, view: memoryview, dtype: str, encoding: str, path: str
) -> JsonObject:
    """Return what was read as elements of ``dtype``; ``path``: the parameter that is wrong if it can't be divided.

    Raises InvalidParams.
    """
    count = len(view) * 2 if dtype == "int4" else len(view) // byte_size(1, dtype)
    if byte_size(count, dtype) != len(view):
        size = byte_size(1, dtype)
        raise InvalidParams(
            f"{path}: the {len(view)} bytes to read must be a whole number of {dtype} elements of {size} bytes.",
            path=path,
            keyword="multipleOf",
            limit=size,
        )
    if encoding != "array":
        return invocation.tensor(view, [count], dtype)
    check_few(count)
    return {"dtype": dtype, "shape": [count], "data": to_numbers(view, dtype)}

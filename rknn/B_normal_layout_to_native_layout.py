"""rknn_B_normal_layout_to_native_layout: reorder a matrix B as the NPU reads it.

C: int rknn_B_normal_layout_to_native_layout(void *B_input, void *B_output, int K, int N, rknn_matmul_info *info)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkllmd.abi.c import byref, shared_bytes
from rkllmd.abi.json import schemas
from rkllmd.abi.json.convert import to_c
from rkllmd.abi.json.tensors import byte_size, read_buffer
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_info
from rkllmd.calls.declaration import COnly, Kind, StructParameter, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.errors import InvalidParams
from rkllmd.json_types import JsonObject
from rkllmd.vision.parts import Vision
from rkllmd.wire.long_bytes import allocate
from rknn._matmul import check_shape, matrix_types
from rknn._memories import check_allocation

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted

_SIZE = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
# The native layout is made of tiles, so K and N are rounded up to whole tiles. The size of a tile differs between SoCs;
# this is the largest one, which is not proven on a board.
_TILE_K: Final = 64
_TILE_N: Final = 64


@method(
    Kind.NPU,
    [
        Value("B_input", schemas.TENSOR, is_tensor=True),
        COnly("B_output"),
        Value("K", _SIZE),
        Value("N", _SIZE),
        StructParameter("info", "rknn_matmul_info", raw=True, required_fields=["type"]),
    ],
)
def normal_to_native(
    vision: Vision,
    invocation: Invocation,
    B_input: Converted,  # noqa: N803 - C's name
    K: int,  # noqa: N803 - C's name
    N: int,  # noqa: N803 - C's name
    info: Converted,
) -> JsonObject:
    """Return B_output, as many bytes as B_input; K and N must be such that the SoC's layout needs no padding."""
    # K and N are also fields of info: in the flat form they are given once and mean both.
    c_info = to_c({**info.json, "K": K, "N": N, "M": max(1, info.json.get("M", 1))}, rknn_matmul_info, info.path, [])
    check_shape((c_info.M, K, N), "$")
    dtype = matrix_types(c_info)[1]
    buffer = read_buffer(B_input.json, dtype, B_input.path, B_input.sources)
    if buffer.size != byte_size(K * N, dtype):
        raise InvalidParams(
            f"{B_input.path} has {buffer.size} bytes, but K x N of {dtype} are {byte_size(K * N, dtype)}.",
            path=B_input.path,
            keyword="shape",
            limit=byte_size(K * N, dtype),
        )
    capacity = byte_size(-(-K // _TILE_K) * _TILE_K * -(-N // _TILE_N) * _TILE_N, dtype)
    check_allocation(vision, invocation, capacity)
    source = shared_bytes(buffer.data, buffer.size)
    # Pages of zeros that take neither memory nor time under Python's lock until they are written to.
    target = shared_bytes(allocate(capacity), capacity)
    vision.runtime.call("rknn_B_normal_layout_to_native_layout", source, target, K, N, byref(c_info))
    native = memoryview(target).cast("B")[: buffer.size]
    return success(B_output=invocation.tensor(native, [K * N], dtype))

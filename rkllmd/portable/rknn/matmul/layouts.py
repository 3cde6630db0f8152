"""The orders in which the elements of A [M, K], B [K, N] and C [M, N] may lie in memory.

The normal layout is row by row; TP_NORM, for B only, is B transposed, [N, K]. The native layouts are those that the
vendor's documentation of the matmul interface gives for RK3588; they were not compared with a board:

- A: [K / k, M, k] with k 8 for float16, 16 for int8, 32 for int4;
- B: [N / n, K / 32, n, 32] with n 16 for float16, 32 for int8, 64 for int4. If K is above 8192, B is cut into segments
  of 8192 rows, which are laid out like this one after the other;
- C: [N / n, M, n] with n 4 for 32-bit elements, 8 for 16-bit elements, 16 for int8.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rkllmd.abi.layouts.rknn_constants import rknn_error, rknn_tensor_type
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_layout
from rkllmd.portable.rknn.c_memory import Array
from rkllmd.portable.rknn.errors import RknnError

NORMAL = rknn_matmul_layout.RKNN_MM_LAYOUT_NORM
NATIVE = rknn_matmul_layout.RKNN_MM_LAYOUT_NATIVE
TRANSPOSED = rknn_matmul_layout.RKNN_MM_LAYOUT_TP_NORM

_A_DEPTH = {
    rknn_tensor_type.RKNN_TENSOR_FLOAT16: 8,
    rknn_tensor_type.RKNN_TENSOR_INT8: 16,
    rknn_tensor_type.RKNN_TENSOR_INT4: 32,
}
_B_DEPTH = 32
_B_WIDTH = {
    rknn_tensor_type.RKNN_TENSOR_FLOAT16: 16,
    rknn_tensor_type.RKNN_TENSOR_INT8: 32,
    rknn_tensor_type.RKNN_TENSOR_INT4: 64,
}
_B_SEGMENT = 8192
_C_WIDTH = {
    rknn_tensor_type.RKNN_TENSOR_FLOAT32: 4,
    rknn_tensor_type.RKNN_TENSOR_INT32: 4,
    rknn_tensor_type.RKNN_TENSOR_FLOAT16: 8,
    rknn_tensor_type.RKNN_TENSOR_BFLOAT16: 8,
    rknn_tensor_type.RKNN_TENSOR_INT16: 8,
    rknn_tensor_type.RKNN_TENSOR_INT8: 16,
}


class Size(NamedTuple):
    """The size of a product: A is [m, k], B is [k, n], C is [m, n]."""

    m: int
    k: int
    n: int


def a_dims(size: Size, layout: int, element_type: rknn_tensor_type) -> tuple[int, ...]:
    """Return A's shape in memory. RKNN_ERR_PARAM_INVALID if K is not divisible as the layout needs it."""
    if layout == NORMAL:
        return (size.m, size.k)
    return _in_columns(size.m, size.k, _A_DEPTH[element_type], "K")


def b_dims(size: Size, layout: int, element_type: rknn_tensor_type) -> tuple[int, ...]:
    """Return B's shape in memory. RKNN_ERR_PARAM_INVALID if K or N is not divisible as the layout needs it."""
    if layout == NORMAL:
        return (size.k, size.n)
    if layout == TRANSPOSED:
        return (size.n, size.k)
    width = _B_WIDTH[element_type]
    return (_divide(size.n, width, "N"), _divide(size.k, _B_DEPTH, "K"), width, _B_DEPTH)


def c_dims(size: Size, layout: int, element_type: rknn_tensor_type) -> tuple[int, ...]:
    """Return C's shape in memory. RKNN_ERR_PARAM_INVALID if N is not divisible as the layout needs it."""
    if layout == NORMAL:
        return (size.m, size.n)
    return _in_columns(size.m, size.n, _C_WIDTH[element_type], "N")


def read_a(stored: Array, size: Size, dims: tuple[int, ...]) -> Array:
    """Return A [M, K] from elements that lie as ``dims`` says."""
    if len(dims) == 2:
        return stored.reshape(dims)
    return stored.reshape(dims).transpose(1, 0, 2).reshape(size.m, size.k)


def read_b(stored: Array, size: Size, layout: int, dims: tuple[int, ...]) -> Array:
    """Return B [K, N] from elements that lie in ``layout``, as ``dims`` says."""
    if layout == NORMAL:
        return stored.reshape(dims)
    if layout == TRANSPOSED:
        return stored.reshape(dims).T
    matrix = np.empty((size.k, size.n), stored.dtype)
    for first, segment, blocks in _b_segments(stored.reshape(-1), size, dims):
        matrix[first : first + segment] = blocks.transpose(1, 3, 0, 2).reshape(segment, size.n)
    return matrix


def write_b(matrix: Array, dims: tuple[int, ...]) -> Array:
    """Return the elements of B [K, N] in the native layout, as one row."""
    k, n = matrix.shape
    stored = np.empty(k * n, matrix.dtype)
    for first, segment, blocks in _b_segments(stored, Size(0, k, n), dims):
        parts = matrix[first : first + segment].reshape(segment // dims[3], dims[3], dims[0], dims[2])
        blocks[...] = parts.transpose(2, 0, 3, 1)
    return stored


def write_c(matrix: Array, dims: tuple[int, ...]) -> Array:
    """Return the elements of C [M, N] in the order that ``dims`` says."""
    if len(dims) == 2:
        return matrix
    groups, m, width = dims
    return matrix.reshape(m, groups, width).transpose(1, 0, 2)


def _b_segments(stored: Array, size: Size, dims: tuple[int, ...]) -> list[tuple[int, int, Array]]:
    """Return, for each segment, its first row, its rows, and a view of its blocks."""
    segments = []
    for first in range(0, size.k, _B_SEGMENT):
        rows = min(_B_SEGMENT, size.k - first)
        part = stored[first * size.n : (first + rows) * size.n]
        segments.append((first, rows, part.reshape(dims[0], rows // dims[3], dims[2], dims[3])))
    return segments


def _in_columns(rows: int, columns: int, width: int, name: str) -> tuple[int, ...]:
    return (_divide(columns, width, name), rows, width)


def _divide(length: int, width: int, name: str) -> int:
    if length % width:
        raise RknnError(
            rknn_error.RKNN_ERR_PARAM_INVALID,
            f"in the native layout {name} has to be a multiple of {width} for this type; it is {length}",
        )
    return length // width

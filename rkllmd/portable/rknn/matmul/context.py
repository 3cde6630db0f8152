"""One rknn_matmul_ctx: C = A x B over numpy.

Products of integers are exact: they are summed up in float64, or in float32 as long as no sum can leave the integers
that float32 holds. If C is int16 or int32, it is these sums, clipped to its type. Quantisation is only applied if C is
int8 or float: then A and B stand for real numbers, as far as parameters were set, and an int8 C is rounded half to
even. float16 is summed up in float32.
"""

from __future__ import annotations

from math import prod

import numpy as np

from rkllmd import interruption
from rkllmd.abi.layouts.rknn_constants import rknn_error, rknn_tensor_type
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_info, rknn_matmul_tensor_attr
from rkllmd.portable.rknn.c_memory import Array
from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.matmul import layouts, quantisation
from rkllmd.portable.rknn.matmul.layouts import Size
from rkllmd.portable.rknn.matmul.types import INT4, INT8, byte_size, element_types, pack, unpack
from rkllmd.portable.rknn.models import apart
from rkllmd.portable.rknn.tensors.memories import Memory

MATRICES = ("A", "B", "C")
_MOST = 2**31
_INTEGERS = (INT4, INT8)
# Products of two int8 below 2**14 sum up exactly in float32, which holds integers to 2**24.
_EXACT_IN_FLOAT32 = 2**24 // 2**14
# Half a second on two cores. Smaller pieces make the whole slower: of 2**31 it took twice as long.
_MULTIPLICATIONS_AT_ONCE = 2**34


class Matmul:
    """A product of matrices of one of several sizes. RKNN_ERR_PARAM_INVALID for what ``info`` cannot be."""

    def __init__(self, info: rknn_matmul_info, sizes: list[Size]) -> None:
        self.types = element_types(info.type)
        self.sizes = sizes
        self.size = sizes[0]
        self._b_layout = info.B_layout
        self._ac_layout = info.AC_layout
        if info.B_layout not in (layouts.NORMAL, layouts.NATIVE, layouts.TRANSPOSED):
            raise _invalid(f"there is no layout {info.B_layout} for B")
        if info.AC_layout not in (layouts.NORMAL, layouts.NATIVE):
            raise _invalid(f"there is no layout {info.AC_layout} for A and C")
        outer = quantisation.scheme(info.AC_quant_type, 0, is_b=False)
        inner = quantisation.scheme(info.B_quant_type, info.group_size, is_b=True)
        self.schemes = {"A": outer, "B": inner, "C": outer}
        self.parameters = dict.fromkeys(MATRICES, quantisation.neutral())
        self.memories: dict[str, Memory] = {}
        for size in sizes:
            self._check(size)

    def _check(self, size: Size) -> None:
        if min(size) < 1:
            raise _invalid(f"M, K and N are {size.m}, {size.k} and {size.n}")
        group = self.schemes["B"].group_size
        if group and size.k % group:
            raise _invalid(f"K is {size.k}, which is not a multiple of group_size, {group}")
        for name in MATRICES:
            if self.byte_size(name, size) >= _MOST:
                raise _invalid(f"{name} would take 2 GiB or more")

    def type_of(self, name: str) -> rknn_tensor_type:
        """Return the element type of matrix A, B or C."""
        return self.types[MATRICES.index(name)]

    def dims(self, name: str, size: Size) -> tuple[int, ...]:
        """Return the shape in memory of matrix A, B or C."""
        if name == "A":
            return layouts.a_dims(size, self._ac_layout, self.types.a)
        if name == "B":
            return layouts.b_dims(size, self._b_layout, self.types.b)
        return layouts.c_dims(size, self._ac_layout, self.types.c)

    def byte_size(self, name: str, size: Size) -> int:
        """Return the bytes that matrix A, B or C takes."""
        return byte_size(self.type_of(name), prod(self.dims(name, size)))

    def describe(self, attr: rknn_matmul_tensor_attr, name: str, size: Size) -> None:
        """Fill in what rknn_matmul_create says about a matrix."""
        dims = self.dims(name, size)
        attr.name = name.encode()
        attr.n_dims = len(dims)
        attr.dims[: len(dims)] = dims
        attr.size = self.byte_size(name, size)
        attr.type = self.type_of(name)

    def run(self) -> None:
        """Multiply. RKNN_ERR_INPUT_INVALID or RKNN_ERR_OUTPUT_INVALID for a memory that is missing or too small."""
        for name in MATRICES:
            self._check_memory(name)
        a = layouts.read_a(self._elements("A"), self.size, self.dims("A", self.size))
        b = layouts.read_b(self._elements("B"), self.size, self._b_layout, self.dims("B", self.size))
        c = layouts.write_c(self._multiply(a, b), self.dims("C", self.size))
        self.memories["C"].write(pack(c, self.types.c))

    def _check_memory(self, name: str) -> None:
        code = rknn_error.RKNN_ERR_OUTPUT_INVALID if name == "C" else rknn_error.RKNN_ERR_INPUT_INVALID
        memory = self.memories.get(name)
        if memory is None or not memory.is_alive:
            self.memories.pop(name, None)
            raise RknnError(code, f"{name} has no memory")
        needed = self.byte_size(name, self.size)
        if memory.size < needed:
            raise RknnError(code, f"{name} needs {needed} bytes, its memory has {memory.size}")

    def _elements(self, name: str) -> Array:
        count = prod(self.dims(name, self.size))
        element_type = self.type_of(name)
        return unpack(self.memories[name].read(byte_size(element_type, count)), element_type, count)

    def _multiply(self, a: Array, b: Array) -> Array:
        """Return C [M, N], not yet converted to its element type."""
        with np.errstate(over="ignore", invalid="ignore"):
            if self.types.a not in _INTEGERS:
                return self._multiply_floats(a, b)
            if self._gives_sums:
                return _exact_product(a, b)
            return self._multiply_quantised(a, b)

    @property
    def _gives_sums(self) -> bool:
        return self.types.c in (rknn_tensor_type.RKNN_TENSOR_INT16, rknn_tensor_type.RKNN_TENSOR_INT32)

    def _multiply_floats(self, a: Array, b: Array) -> Array:
        if self.types.b in _INTEGERS:
            b = quantisation.dequantise_b(b, self.parameters["B"], self.schemes["B"], np.float32)
        return _product(a.astype(np.float32), b.astype(np.float32, copy=False))

    def _multiply_quantised(self, a: Array, b: Array) -> Array:
        of_a, of_c = self.parameters["A"], self.parameters["C"]
        real_b = quantisation.dequantise_b(b, self.parameters["B"], self.schemes["B"], np.float64)
        product = _product(a.astype(np.float64) - of_a.zero_point, real_b)
        product *= of_a.scale
        if self.types.c == INT8:
            product /= of_c.scale
            product += of_c.zero_point
            np.rint(product, out=product)
        return product


def _exact_product(a: Array, b: Array) -> Array:
    dtype = np.float32 if a.shape[1] <= _EXACT_IN_FLOAT32 else np.float64
    return _product(a.astype(dtype), b.astype(dtype)).astype(np.int64)


def _product(a: Array, b: Array) -> Array:
    """Return a x b, made in pieces between which it may be interrupted: RKNN_ERR_FAIL then."""
    (m, k), n = a.shape, b.shape[1]
    if m * k * n <= _MULTIPLICATIONS_AT_ONCE:
        whole: Array = a @ b
        return whole
    product = np.empty((m, n), a.dtype)
    columns = max(1, min(n, _MULTIPLICATIONS_AT_ONCE // k))
    rows = max(1, min(m, _MULTIPLICATIONS_AT_ONCE // (k * columns)))
    for top in range(0, m, rows):
        for left in range(0, n, columns):
            if interruption.is_interrupted():
                raise apart.interrupted("the product")
            piece = np.s_[top : top + rows, left : left + columns]
            np.matmul(a[piece[0]], b[:, piece[1]], out=product[piece])
    return product


def _invalid(sentence: str) -> RknnError:
    return RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, sentence)

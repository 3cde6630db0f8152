"""The orders in which A, B and C may lie in memory."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from rkllmd.abi.layouts.rknn_constants import rknn_tensor_type
from rkllmd.abi.layouts.rknn_matmul import (
    rknn_matmul_type,
)
from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.matmul import layouts
from rkllmd.portable.rknn.matmul.layouts import Size
from tests.portable.rknn.calls.products import (
    NATIVE,
    Product,
    info_of,
    laid_b,
    values,
)
from tests.portable.rknn.client import OK, C, address


def test_a_long_b_is_laid_out_in_segments() -> None:
    k, n = 8192 + 64, 32
    b = values("INT8", (k, n))
    target = np.zeros(k * n, np.int8)
    info = info_of(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32, 2, k, n, B_layout=NATIVE)
    convert = C["rknn_B_normal_layout_to_native_layout"]
    assert convert(address(b), address(target), k, n, ctypes.byref(info)) == OK
    parts = [laid_b("INT8", b[:8192]).ravel(), laid_b("INT8", b[8192:]).ravel()]
    np.testing.assert_array_equal(target, np.concatenate(parts))
    a = values("INT8", (2, k))
    product = Product(info)
    product.put("A", a)
    product.put("B", target)
    np.testing.assert_array_equal(product.c(), a.astype(np.int64) @ b.astype(np.int64))
    product.end()


FLOAT16, INT32 = rknn_tensor_type.RKNN_TENSOR_FLOAT16, rknn_tensor_type.RKNN_TENSOR_INT32
SIZE = Size(3, 64, 32)


@pytest.mark.parametrize(
    ("dims", "layout", "expected"),
    [
        (layouts.a_dims, layouts.NORMAL, (3, 64)),
        (layouts.a_dims, layouts.NATIVE, (8, 3, 8)),
        (layouts.b_dims, layouts.NORMAL, (64, 32)),
        (layouts.b_dims, layouts.TRANSPOSED, (32, 64)),
        (layouts.b_dims, layouts.NATIVE, (2, 2, 16, 32)),
    ],
)
def test_the_shape_in_memory(dims: Any, layout: int, expected: tuple[int, ...]) -> None:
    assert dims(SIZE, layout, FLOAT16) == expected
    assert (layouts.c_dims(SIZE, layouts.NATIVE, INT32), layouts.c_dims(SIZE, layouts.NORMAL, INT32)) == (
        (8, 3, 4),
        (3, 32),
    )


@pytest.mark.parametrize(
    ("dims", "size", "said"),
    [
        (layouts.a_dims, Size(1, 9, 16), "K has to be a multiple of 8 for this type; it is 9"),
        (layouts.b_dims, Size(1, 33, 16), "K has to be a multiple of 32 for this type; it is 33"),
        (layouts.b_dims, Size(1, 32, 17), "N has to be a multiple of 16 for this type; it is 17"),
        (layouts.c_dims, Size(1, 32, 17), "N has to be a multiple of 8 for this type; it is 17"),
    ],
)
def test_a_size_that_the_native_layout_does_not_divide_is_refused(dims: Any, size: Size, said: str) -> None:
    with pytest.raises(RknnError, match=f"^in the native layout {said}$"):
        dims(size, layouts.NATIVE, FLOAT16)


def test_a_and_c_come_in_columns() -> None:
    a = np.arange(3 * 64).reshape(3, 64)
    dims = layouts.a_dims(SIZE, layouts.NATIVE, FLOAT16)
    stored = np.stack([a[:, k : k + 8] for k in range(0, 64, 8)])
    np.testing.assert_array_equal(layouts.read_a(stored.ravel(), SIZE, dims), a)
    c = np.arange(3 * 32).reshape(3, 32)
    written = layouts.write_c(c, layouts.c_dims(SIZE, layouts.NATIVE, INT32))
    np.testing.assert_array_equal(written, np.stack([c[:, n : n + 4] for n in range(0, 32, 4)]))


@pytest.mark.parametrize("k", [64, 8192 + 32])
def test_b_there_and_back(k: int) -> None:
    size = Size(0, k, 32)
    b = np.arange(k * 32, dtype=np.int32).reshape(k, 32)
    dims = layouts.b_dims(size, layouts.NATIVE, FLOAT16)
    np.testing.assert_array_equal(layouts.read_b(layouts.write_b(b, dims), size, layouts.NATIVE, dims), b)
    np.testing.assert_array_equal(layouts.read_b(b.T.ravel(), size, layouts.TRANSPOSED, (32, k)), b)
    np.testing.assert_array_equal(layouts.read_b(b.ravel(), size, layouts.NORMAL, (k, 32)), b)

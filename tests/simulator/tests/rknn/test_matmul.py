"""Matrix multiplication of RKNN's simulator, in all types and layouts."""

from __future__ import annotations

import ctypes
import itertools
import random
import struct
from array import array

import pytest

from rkllmd.abi.layouts import rknn_matmul
from rkllmd.abi.layouts.rknn_constants import rknn_error
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_layout, rknn_matmul_type
from tests.simulator.rknn_player import Matmul, RknnSimulator, Type
from tests.simulator.tests.rknn.models import matmul_info, signed


def numbers(count: int, low: int = -128, high: int = 127) -> list[int]:
    source = random.Random(count)
    return [source.randint(low, high) for _ in range(count)]


def product(a: list[int], b: list[int], m: int, k: int, n: int) -> list[int]:
    return [sum(a[r * k + i] * b[i * n + c] for i in range(k)) for r in range(m) for c in range(n)]


def test_int8_matmul(simulator: RknnSimulator) -> None:
    m, k, n = 3, 7, 5
    a, b = numbers(m * k), numbers(k * n)
    matmul = Matmul(simulator, matmul_info(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32, m, k, n))
    attr = matmul.attrs[0]
    assert [(x.name, list(x.dims[: x.n_dims]), x.size, x.type) for x in (attr.A, attr.B, attr.C)] == [
        (b"A", [3, 7], 21, Type.RKNN_TENSOR_INT8),
        (b"B", [7, 5], 35, Type.RKNN_TENSOR_INT8),
        (b"C", [3, 5], 60, Type.RKNN_TENSOR_INT32),
    ]
    assert simulator.rknn_matmul_run(matmul.handle) == rknn_error.RKNN_ERR_PARAM_INVALID
    matmul.bind(array("b", a).tobytes(), array("b", b).tobytes())
    assert list(array("i", matmul.multiply())) == product(a, b, m, k, n)
    assert simulator.rknn_matmul_set_core_mask(matmul.handle, 7) == 0
    assert simulator.live() == (0, 3, 1)
    matmul.close()
    assert simulator.live() == (0, 0, 0)


def test_float16_matmul(simulator: RknnSimulator) -> None:
    m, k, n = 2, 4, 3
    a, b = numbers(m * k, -64, 64), numbers(k * n, -64, 64)
    expected = [value / 64 for value in product(a, b, m, k, n)]
    packed = [struct.pack(f"{len(x)}e", *(value / 8 for value in x)) for x in (a, b)]
    matmul = Matmul(simulator, matmul_info(rknn_matmul_type.RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT32, m, k, n))
    matmul.bind(packed[0], packed[1])
    assert list(array("f", matmul.multiply())) == expected
    matmul.close()
    half = Matmul(simulator, matmul_info(rknn_matmul_type.RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT16, m, k, n))
    half.bind(packed[0], packed[1])
    assert half.multiply() == struct.pack(f"{m * n}e", *expected)
    half.close()


def test_native_layouts(simulator: RknnSimulator) -> None:
    m, k, n = 2, 64, 96
    a, b = numbers(m * k), numbers(k * n)
    native = rknn_matmul_layout.RKNN_MM_LAYOUT_NATIVE
    info = matmul_info(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32, m, k, n, B_layout=native, AC_layout=native)
    matmul = Matmul(simulator, info)
    attr = matmul.attrs[0]
    assert [list(x.dims[: x.n_dims]) for x in (attr.A, attr.B, attr.C)] == [[4, 2, 16], [3, 2, 32, 32], [24, 2, 4]]
    tiled = ctypes.create_string_buffer(k * n)
    normal = array("b", b).tobytes()
    assert simulator.rknn_B_normal_layout_to_native_layout(normal, tiled, k, n, ctypes.byref(info)) == 0
    assert signed(tiled.raw) == [
        b[(k1 * 32 + row) * n + n1 * 32 + column]
        for n1, k1, column, row in itertools.product(range(3), range(2), range(32), range(32))
    ]
    tiled_a = [a[row * k + k1 * 16 + i] for k1, row, i in itertools.product(range(4), range(2), range(16))]
    matmul.bind(array("b", tiled_a).tobytes(), tiled.raw)
    expected = product(a, b, m, k, n)
    result = array("i", matmul.multiply())
    assert list(result) == [
        expected[row * n + n1 * 4 + i] for n1, row, i in itertools.product(range(24), range(2), range(4))
    ]
    matmul.close()
    assert simulator.rknn_B_normal_layout_to_native_layout(normal, tiled, 63, n, ctypes.byref(info)) == -5


@pytest.mark.parametrize("kind", rknn_matmul_type)
def test_every_matmul_type(simulator: RknnSimulator, kind: rknn_matmul_type) -> None:
    """Small numbers fit all types; the names say the types."""
    m, k, n = 2, 4, 6
    a, b = numbers(m * k, -2, 2), numbers(k * n, -2, 2)
    left, right = kind.name.removeprefix("RKNN_").split("_MM_")
    right, result = right.split("_TO_")
    matmul = Matmul(simulator, matmul_info(kind, m, k, n, B_layout=rknn_matmul_layout.RKNN_MM_LAYOUT_TP_NORM))
    turned = [b[row * n + column] for column in range(n) for row in range(k)]
    matmul.bind(pack(left, a), pack(right, turned))
    assert matmul.multiply() == pack(result, product(a, b, m, k, n))
    matmul.close()


CODES = {"INT8": "b", "INT16": "h", "INT32": "i", "FLOAT16": "e", "FLOAT32": "f"}


def pack(kind: str, values: list[int]) -> bytes:
    if kind == "INT4":
        return bytes(low & 15 | (high & 15) << 4 for low, high in zip(values[::2], values[1::2], strict=True))
    if kind == "BFLOAT16":
        return b"".join(struct.pack("f", value)[2:] for value in values)
    return struct.pack(f"{len(values)}{CODES[kind]}", *values)


def test_matmul_quantisation(simulator: RknnSimulator) -> None:
    matmul = Matmul(simulator, matmul_info(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_FLOAT32, 1, 2, 2))
    scales, zeros = (ctypes.c_float * 2)(0.5, 0.25), (ctypes.c_int32 * 1)(1)
    params = rknn_matmul.rknn_quant_params(b"B", scales, 2, zeros, 1)
    assert simulator.rknn_matmul_set_quant_params(matmul.handle, ctypes.byref(params)) == 0
    scale, back = ctypes.c_float(), rknn_matmul.rknn_quant_params(b"B")
    assert simulator.rknn_matmul_get_quant_params(matmul.handle, ctypes.byref(back), ctypes.byref(scale)) == 0
    assert (back.scale[:2], back.scale_len, back.zp[0], back.zp_len, scale.value) == ([0.5, 0.25], 2, 1, 1, 0.375)
    matmul.bind(bytes([2, 3]), bytes([5, 9, 2, 3]))
    assert list(array("f", matmul.multiply())) == [(2 * 4 + 3 * 1) * 0.5, (2 * 8 + 3 * 2) * 0.25]
    wrong = rknn_matmul.rknn_quant_params(b"A", scales, 2, None, 0)
    assert simulator.rknn_matmul_set_quant_params(matmul.handle, ctypes.byref(wrong)) == -5
    matmul.close()


def test_dynamic_matmul(simulator: RknnSimulator) -> None:
    info = matmul_info(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32, 0, 0, 0)
    matmul = Matmul(simulator, info, [(1, 2, 1), (2, 2, 1)])
    matmul.bind(bytes([1, 2]), bytes([3, 4]))
    assert list(array("i", matmul.multiply())) == [11]
    shape = rknn_matmul.rknn_matmul_shape(2, 2, 1)
    assert simulator.rknn_matmul_set_dynamic_shape(matmul.handle, ctypes.byref(shape)) == 0
    assert simulator.rknn_matmul_run(matmul.handle) == rknn_error.RKNN_ERR_PARAM_INVALID, "A and C are to be set anew"
    matmul.bind(bytes([1, 2, 5, 6]), bytes([3, 4]), 1)
    assert list(array("i", matmul.multiply())) == [11, 39]
    shape.M = 3
    assert simulator.rknn_matmul_set_dynamic_shape(matmul.handle, ctypes.byref(shape)) == -5
    matmul.close()


def test_wrong_matmuls(simulator: RknnSimulator) -> None:
    int8 = rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32
    for info in (
        matmul_info(int8, 0, 1, 1),
        matmul_info(int8, 1, 33, 32, B_layout=1),
        matmul_info(int8, 1, 1, 1, B_layout=3),
        matmul_info(int8, 1, 1, 1, B_quant_type=4),  # groups of no rows
        matmul_info(int8, 1, 1, 1, B_quant_type=6),
        rknn_matmul.rknn_matmul_info(M=1, K=1, N=1, type=13),
        rknn_matmul.rknn_matmul_info(M=1, K=1, N=1, type=99),
    ):
        assert Matmul(simulator, info).status == rknn_error.RKNN_ERR_PARAM_INVALID
    assert simulator.live() == (0, 0, 0)

"""The matmul functions, against numpy's own arithmetic."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from rkllmd.abi.layouts.rknn_constants import rknn_tensor_type
from rkllmd.abi.layouts.rknn_matmul import (
    rknn_matmul_info,
    rknn_matmul_io_attr,
    rknn_matmul_layout,
    rknn_matmul_shape,
    rknn_matmul_tensor_attr,
    rknn_matmul_type,
    rknn_quant_params,
)
from tests.portable.rknn.calls.products import (
    NATIVE,
    NORM,
    RNG,
    TP_NORM,
    TYPES,
    K,
    M,
    N,
    Product,
    Quant,
    close,
    expected,
    info_of,
    laid_a,
    laid_b,
    packed,
    values,
)
from tests.portable.rknn.client import CTX, INPUT, OK, OUTPUT, PARAM, C, address, content, load, memory
from tests.portable.rknn.conftest import Line
from tests.portable.rknn.graphs import floats


@pytest.mark.parametrize("ac_layout", [NORM, NATIVE])
@pytest.mark.parametrize("b_layout", list(rknn_matmul_layout))
@pytest.mark.parametrize("kind", list(rknn_matmul_type))
def test_all_types_in_all_layouts(kind: rknn_matmul_type, b_layout: int, ac_layout: int) -> None:
    names = TYPES[kind]
    a, b = values(names[0], (M, K)), values(names[1], (K, N))
    product = Product(info_of(kind, B_layout=b_layout, AC_layout=ac_layout))
    product.put("A", laid_a(names[0], a) if ac_layout == NATIVE else a)
    product.put("B", {NORM: b, NATIVE: laid_b(names[1], b), TP_NORM: b.T}[rknn_matmul_layout(b_layout)])
    wanted = expected(kind, a, b)
    if names[2] == "FLOAT16" and names[0] == "INT8":
        assert product.quantise("A", 0.01) == OK
        wanted = wanted * np.float64(np.float32(0.01))
    close(product.c(), wanted, names[2])
    product.end()


@pytest.mark.parametrize("kind", list(rknn_matmul_type))
def test_odd_sizes_in_the_normal_layout(kind: rknn_matmul_type) -> None:
    names = TYPES[kind]
    a, b = values(names[0], (3, 7)), values(names[1], (7, 5))
    product = Product(info_of(kind, 3, 7, 5))
    product.put("A", a)
    product.put("B", b)
    close(product.c(), expected(kind, a, b), names[2])
    product.end()


@pytest.mark.parametrize("k", [1024, 1025, 2000])
def test_the_biggest_sums_are_exact(k: int) -> None:
    product = Product(info_of(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32, 2, k, 2))
    a, b = np.full((2, k), -128, np.int8), np.full((k, 2), -128, np.int8)
    a[1, 0] = b[0, 1] = -127
    product.put("A", a)
    product.put("B", b)
    np.testing.assert_array_equal(product.c(), a.astype(np.int64) @ b.astype(np.int64))
    product.end()


def test_sums_beyond_the_type_are_clipped() -> None:
    product = Product(info_of(rknn_matmul_type.RKNN_INT4_MM_INT4_TO_INT16, 1, 600, 2))
    b = np.full((600, 2), -8, np.int8)
    b[:, 1] = 7
    product.put("A", np.full((1, 600), -8, np.int8))
    product.put("B", b)
    assert product.c().tolist() == [[32767, -32768]]
    product.end()


def test_attributes() -> None:
    attr = Product(info_of(rknn_matmul_type.RKNN_INT8_MM_INT4_TO_INT32, B_layout=NATIVE, AC_layout=NATIVE)).attr
    shown = [(a.name, tuple(a.dims[: a.n_dims]), a.size, a.type) for a in (attr.A, attr.B, attr.C)]
    assert shown == [
        (b"A", (4, 5, 16), 320, rknn_tensor_type.RKNN_TENSOR_INT8),
        (b"B", (2, 2, 64, 32), 4096, rknn_tensor_type.RKNN_TENSOR_INT4),
        (b"C", (32, 5, 4), 2560, rknn_tensor_type.RKNN_TENSOR_INT32),
    ]
    assert Product(info_of(rknn_matmul_type.RKNN_INT4_MM_INT4_TO_INT16, 3, 7, 5)).attr.A.size == 11


@pytest.mark.parametrize(
    ("kind", "scale_c"),
    [(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT8, 3.0), (rknn_matmul_type.RKNN_INT8_MM_INT8_TO_FLOAT32, None)],
)
@pytest.mark.parametrize("quant", list(Quant))
def test_quantised_products(kind: rknn_matmul_type, scale_c: float | None, quant: Quant) -> None:
    group = 16 if quant >= Quant.RKNN_QUANT_TYPE_PER_GROUP_SYM else 0
    shape = (K // group, N) if group else (1, N if quant in (2, 3) else 1)
    scale = RNG.uniform(0.01, 0.1, shape).astype(np.float32)
    zero = RNG.integers(-9, 9, shape) if quant % 2 else np.zeros(shape, int)
    a, b = values("INT8", (M, K)), values("INT8", (K, N))
    product = Product(
        info_of(kind, B_quant_type=quant, AC_quant_type=Quant.RKNN_QUANT_TYPE_PER_LAYER_ASYM, group_size=group)
    )
    assert product.quantise("A", 0.25, 4) == OK
    assert product.quantise("B", scale, zero if quant % 2 else ()) == OK
    rows = K // shape[0]
    real_b = (b - np.repeat(zero, rows, 0)) * np.repeat(scale, rows, 0).astype(np.float64)
    real = ((a.astype(np.int64) - 4) * 0.25) @ real_b
    product.put("A", a)
    product.put("B", b)
    if scale_c is None:
        np.testing.assert_allclose(product.c(), real, rtol=1e-6, atol=1e-4)
    else:
        assert product.quantise("C", scale_c, -7) == OK
        np.testing.assert_array_equal(product.c(), np.clip(np.rint(real / scale_c - 7), -128, 127))
    product.end()


@pytest.mark.parametrize(
    "kind", [kind for kind, names in TYPES.items() if names[0] == "FLOAT16" and names[1][0] == "I"]
)
@pytest.mark.parametrize("quant", list(Quant))
def test_dequantised_weights(kind: rknn_matmul_type, quant: Quant) -> None:
    names = TYPES[kind]
    group = 32 if quant >= Quant.RKNN_QUANT_TYPE_PER_GROUP_SYM else 0
    shape = (K // group, N) if group else (1, N if quant in (2, 3) else 1)
    scale = RNG.uniform(0.01, 0.1, shape).astype(np.float32)
    zero = RNG.integers(-3, 3, shape) if quant % 2 else np.zeros(shape, int)
    a, b = values("FLOAT16", (M, K)), values(names[1], (K, N))
    product = Product(info_of(kind, B_layout=NATIVE, B_quant_type=quant, group_size=group))
    assert product.quantise("B", scale, zero) == OK
    product.put("A", a)
    product.put("B", laid_b(names[1], b))
    rows = K // shape[0]
    real_b = (b - np.repeat(zero, rows, 0)) * np.repeat(scale, rows, 0).astype(np.float64)
    close(product.c(), a.astype(np.float64) @ real_b, names[2])
    product.end()


def test_wrong_quantisation(line: Line) -> None:
    product = Product(info_of(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT8, B_quant_type=2))
    for name, scale, zero in (
        ("A", [1, 2], ()),
        ("A", [0], ()),
        ("A", [-1], ()),
        ("A", [np.nan], ()),
        ("A", [1], [3]),
        ("B", [1], ()),
        ("B", np.ones(N), np.zeros(3)),
        ("D", [1], ()),
    ):
        assert product.quantise(name, scale, zero) == PARAM, name
        line()
    product.end()


def test_the_parameters_are_told() -> None:
    product = Product(info_of(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32, B_quant_type=3))
    scale, zero = np.linspace(1, 2, N), np.arange(N)
    assert product.quantise("B", scale, zero) == OK
    params, biggest = rknn_quant_params(name=b"B"), ctypes.c_float()
    assert C["rknn_matmul_get_quant_params"](product.context, ctypes.byref(params), ctypes.byref(biggest)) == OK
    assert (params.scale_len, params.zp_len, biggest.value) == (N, N, 2)
    assert params.scale[:N] == pytest.approx(scale)
    assert params.zp[:N] == zero.tolist()
    # Arrays of the caller's stay as they are.
    own = (ctypes.c_float * 1)()
    given = rknn_quant_params(name=b"B", scale=own)
    assert C["rknn_matmul_get_quant_params"](product.context, ctypes.byref(given), None) == OK
    assert given.scale[:N] == pytest.approx(scale)
    assert own[0] == 0
    product.end()


@pytest.mark.parametrize(
    "info",
    [
        info_of(0),
        info_of(13),
        info_of(2, m=0),
        info_of(2, k=-1),
        info_of(2, m=2**20, k=2**20),
        info_of(2, B_layout=3),
        info_of(2, AC_layout=2),
        info_of(2, B_quant_type=6),
        info_of(2, AC_quant_type=2),
        info_of(2, B_quant_type=4),
        info_of(2, B_quant_type=4, group_size=7),
        info_of(2, k=48, B_layout=NATIVE),
        info_of(2, n=16, B_layout=NATIVE),
        info_of(10, n=32, B_layout=NATIVE),
        info_of(1, k=4, AC_layout=NATIVE),
        info_of(2, n=6, AC_layout=NATIVE),
    ],
)
def test_what_cannot_be_made(info: rknn_matmul_info, line: Line) -> None:
    context, attr = ctypes.c_uint64(), rknn_matmul_io_attr()
    assert C["rknn_matmul_create"](ctypes.byref(context), ctypes.byref(info), ctypes.byref(attr)) == PARAM
    assert context.value == 0
    line()


def test_missing_arguments(line: Line) -> None:
    assert C["rknn_matmul_create"](None, None, None) == PARAM
    line()
    assert C["rknn_matmul_create_dynamic_shape"](None, None, 1, None, None) == PARAM
    line()
    assert C["rknn_B_normal_layout_to_native_layout"](None, None, 32, 32, None) == PARAM
    line()


def test_memories_are_needed(line: Line) -> None:
    product = Product(info_of(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32))
    small = memory(product.context, 3)
    assert C["rknn_matmul_set_io_mem"](product.context, small, ctypes.byref(product.attr.A)) == PARAM
    line()
    other = rknn_matmul_tensor_attr(name=b"D")
    assert C["rknn_matmul_set_io_mem"](product.context, small, ctypes.byref(other)) == PARAM
    line()
    # A memory that is too small, while the attr does not say how much is needed.
    named = rknn_matmul_tensor_attr(name=b"A")
    assert C["rknn_matmul_set_io_mem"](product.context, small, ctypes.byref(named)) == OK
    assert product.run() == INPUT
    line()
    assert C["rknn_matmul_set_io_mem"](product.context, product.memories["A"], ctypes.byref(named)) == OK
    assert product.run() == OK
    C["rknn_destroy_mem"](product.context, product.memories["C"])
    assert product.run() == OUTPUT
    line()
    C["rknn_destroy_mem"](product.context, product.memories["A"])
    assert product.run() == INPUT
    line()
    assert C["rknn_matmul_set_core_mask"](product.context, 1) == OK
    assert C["rknn_matmul_set_core_mask"](product.context, 9) == PARAM
    line()
    for made in (small, product.memories["B"]):
        C["rknn_destroy_mem"](product.context, made)
    C["rknn_matmul_destroy"](product.context)


def test_contexts_of_the_two_kinds_are_not_mistaken(line: Line) -> None:
    product, context = Product(info_of(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32)), load(floats())
    assert C["rknn_destroy"](product.context) == CTX
    line()
    assert C["rknn_matmul_run"](context) == CTX
    line()
    C["rknn_destroy"](context)
    product.end()


def test_dynamic_shapes(line: Line) -> None:
    sizes = [(1, 64, 32), (4, 64, 32), (3, 32, 16)]
    shapes = (rknn_matmul_shape * 3)(*(rknn_matmul_shape(*size) for size in sizes))
    attrs = (rknn_matmul_io_attr * 3)()
    context = ctypes.c_uint64()
    info = info_of(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_FLOAT32, 0, 0, 0, B_quant_type=2)
    for count in (0, 513):
        assert C["rknn_matmul_create_dynamic_shape"](ctypes.byref(context), info, count, shapes, attrs) == PARAM
        line()
    assert C["rknn_matmul_create_dynamic_shape"](ctypes.byref(context), info, 3, shapes, attrs) == OK
    assert [attr.A.size for attr in attrs] == [64, 256, 96]
    memories = {
        "A": memory(context.value, 256),
        "B": memory(context.value, 64 * 32),
        "C": memory(context.value, 4 * 32 * 4),
    }
    scale = np.linspace(1, 2, 32, dtype=np.float32)
    params = rknn_quant_params(b"B", scale.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), 32)
    assert C["rknn_matmul_set_quant_params"](context, ctypes.byref(params)) == OK
    for (m, k, n), attr in zip(sizes, attrs, strict=True):
        assert C["rknn_matmul_set_dynamic_shape"](context, ctypes.byref(rknn_matmul_shape(m, k, n))) == OK
        for name, made in memories.items():
            wanted = getattr(attr, name)
            assert C["rknn_matmul_set_io_mem"](context, made, ctypes.byref(wanted)) == OK
        a, b = values("INT8", (m, k)), values("INT8", (k, n))
        content(memories["A"], np.int8)[: a.size] = a.ravel()
        content(memories["B"], np.int8)[: b.size] = b.ravel()
        assert C["rknn_matmul_run"](context) == OK
        got = content(memories["C"], np.float32)[: m * n].reshape(m, n)
        np.testing.assert_allclose(got, (a.astype(np.int64) @ b.astype(np.int64)) * scale[:n], rtol=1e-6)
    assert C["rknn_matmul_set_dynamic_shape"](context, ctypes.byref(rknn_matmul_shape(2, 64, 32))) == PARAM
    line()
    for made in memories.values():
        C["rknn_destroy_mem"](context, made)
    C["rknn_matmul_destroy"](context)


@pytest.mark.parametrize("b_layout", [NORM, NATIVE, TP_NORM])
@pytest.mark.parametrize("kind", [1, 2, 10])
def test_b_into_the_native_layout(kind: int, b_layout: int, line: Line) -> None:
    name = TYPES[rknn_matmul_type(kind)][1]
    b = values(name, (K, N))
    source = packed(name, b.T if b_layout == TP_NORM else b).copy()
    target = np.zeros_like(source)
    info = info_of(kind, B_layout=b_layout)
    convert = C["rknn_B_normal_layout_to_native_layout"]
    assert convert(address(source), address(target), K, N, ctypes.byref(info)) == OK
    np.testing.assert_array_equal(target, packed(name, laid_b(name, b)))
    assert convert(address(source), address(target), K, N + 1, ctypes.byref(info)) == PARAM
    assert "N has to be a multiple of" in line()
    assert convert(address(source), address(target), 0, N, ctypes.byref(info)) == PARAM
    line()

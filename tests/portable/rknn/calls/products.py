"""Matrices in all types and layouts, and their product through the matmul functions and by numpy."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from rkllmd.abi.layouts.rknn_matmul import (
    rknn_matmul_info,
    rknn_matmul_io_attr,
    rknn_matmul_layout,
    rknn_matmul_quant_type,
    rknn_matmul_type,
    rknn_quant_params,
)
from tests.portable.rknn.client import OK, Array, C, content, memory

NORM, NATIVE, TP_NORM = rknn_matmul_layout
Quant = rknn_matmul_quant_type
RNG = np.random.default_rng(6)
M, K, N = 5, 64, 128
# Per type: what A, B and C are.
TYPES = {
    kind: kind.name.removeprefix("RKNN_").replace("_MM_", " ").replace("_TO_", " ").split() for kind in rknn_matmul_type
}
DTYPES: dict[str, Any] = {
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "BFLOAT16": np.uint16,
}


def values(kind: str, shape: tuple[int, ...]) -> Array:
    """Return numbers of a type, int4 as int8."""
    if kind == "INT4":
        return RNG.integers(-8, 8, shape).astype(np.int8)
    if kind == "INT8":
        return RNG.integers(-128, 128, shape).astype(np.int8)
    return RNG.standard_normal(shape).astype(np.float16)


def packed(kind: str, given: Array) -> Array:
    """Return the bytes of numbers in C order, int4 two to a byte, the low half first."""
    flat = np.ascontiguousarray(given).ravel()
    if kind != "INT4":
        return flat.view(np.uint8)
    flat = np.append(flat, np.zeros(flat.size % 2, np.int8))
    return ((flat[0::2] & 15) | (flat[1::2] << 4)).astype(np.int8).view(np.uint8)


def laid_a(kind: str, a: Array) -> Array:
    depth = {"FLOAT16": 8, "INT8": 16, "INT4": 32}[kind]
    return np.stack([a[:, k : k + depth] for k in range(0, a.shape[1], depth)])


def laid_b(kind: str, b: Array) -> Array:
    width = {"FLOAT16": 16, "INT8": 32, "INT4": 64}[kind]
    k, n = b.shape
    return np.stack(
        [[b[row : row + 32, column : column + width].T for row in range(0, k, 32)] for column in range(0, n, width)]
    )


def info_of(kind: int, m: int = M, k: int = K, n: int = N, **fields: int) -> rknn_matmul_info:
    return rknn_matmul_info(M=m, K=k, N=n, type=kind, **fields)


class Product:
    """A context with its three memories."""

    def __init__(self, info: rknn_matmul_info) -> None:
        self.kind = TYPES[rknn_matmul_type(info.type)]
        self.attr = rknn_matmul_io_attr()
        context = ctypes.c_uint64()
        assert C["rknn_matmul_create"](ctypes.byref(context), ctypes.byref(info), ctypes.byref(self.attr)) == OK
        self.context = context.value
        self.memories = {name: memory(self.context, getattr(self.attr, name).size) for name in "ABC"}
        for name, made in self.memories.items():
            wanted = getattr(self.attr, name)
            assert C["rknn_matmul_set_io_mem"](self.context, made, ctypes.byref(wanted)) == OK

    def put(self, name: str, given: Array) -> None:
        """Fill A or B."""
        content(self.memories[name])[:] = packed(self.kind["ABC".index(name)], given)

    def quantise(self, name: str, scale: Any, zero: Any = ()) -> int:
        """Set scales and zero points, and return the code."""
        scales, zeros = np.array(scale, np.float32), np.array(zero, np.int32)
        params = rknn_quant_params(
            name.encode(),
            scales.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            scales.size,
            zeros.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            zeros.size,
        )
        code: int = C["rknn_matmul_set_quant_params"](self.context, ctypes.byref(params))
        return code

    def run(self) -> int:
        """Multiply, and return the code."""
        code: int = C["rknn_matmul_run"](self.context)
        return code

    def c(self) -> Array:
        """Multiply, and return C [M, N]."""
        assert self.run() == OK
        got = content(self.memories["C"], DTYPES[self.kind[2]])
        if self.kind[2] == "BFLOAT16":
            got = (got.astype(np.uint32) << 16).view(np.float32)
        if self.attr.C.n_dims == 3:
            groups, m, width = self.attr.C.dims[:3]
            return got.reshape(groups, m, width).transpose(1, 0, 2).reshape(m, groups * width)
        return got.reshape(self.attr.C.dims[:2])

    def end(self) -> None:
        """Destroy the memories and the context."""
        for made in self.memories.values():
            assert C["rknn_destroy_mem"](self.context, made) == OK
        assert C["rknn_matmul_destroy"](self.context) == OK


def expected(kind: rknn_matmul_type, a: Array, b: Array) -> Array:
    """Return C with all scales 1, in 64 bits."""
    names = TYPES[kind]
    if names[0].startswith("INT"):
        sums = a.astype(np.int64) @ b.astype(np.int64)
        return np.clip(sums, -128, 127) if names[2] == "INT8" else sums
    return a.astype(np.float64) @ b.astype(np.float64)


def close(got: Array, wanted: Array, name: str) -> None:
    if name.startswith("INT"):
        np.testing.assert_array_equal(got, wanted)
    else:
        relative = {"FLOAT32": 1e-6, "FLOAT16": 1e-3, "BFLOAT16": 8e-3}[name]
        # Against the size of what is summed up: sums near zero have lost their digits.
        np.testing.assert_allclose(got, wanted, rtol=relative, atol=relative * np.abs(wanted).max())

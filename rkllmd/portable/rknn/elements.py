"""Element types, and the conversions between them.

A quantised integer q stands for the real number (q - zero point) * scale. Quantising rounds half to even and clips to
the type's range; a NaN becomes the biggest value. Casts between unquantised types are numpy's (C's).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rkllmd.abi.rknn_constants import rknn_error, rknn_tensor_type
from rkllmd.portable.rknn.c_memory import Array, Bytes
from rkllmd.portable.rknn.errors import RknnError

FLOAT32 = rknn_tensor_type.RKNN_TENSOR_FLOAT32
BFLOAT16 = rknn_tensor_type.RKNN_TENSOR_BFLOAT16

# What the elements are in memory. numpy has no bfloat16: it is carried as its 16 bits, and worked with as float32.
DTYPES: dict[int, np.dtype] = {
    rknn_tensor_type.RKNN_TENSOR_FLOAT32: np.dtype(np.float32),
    rknn_tensor_type.RKNN_TENSOR_FLOAT16: np.dtype(np.float16),
    rknn_tensor_type.RKNN_TENSOR_INT8: np.dtype(np.int8),
    rknn_tensor_type.RKNN_TENSOR_UINT8: np.dtype(np.uint8),
    rknn_tensor_type.RKNN_TENSOR_INT16: np.dtype(np.int16),
    rknn_tensor_type.RKNN_TENSOR_UINT16: np.dtype(np.uint16),
    rknn_tensor_type.RKNN_TENSOR_INT32: np.dtype(np.int32),
    rknn_tensor_type.RKNN_TENSOR_UINT32: np.dtype(np.uint32),
    rknn_tensor_type.RKNN_TENSOR_INT64: np.dtype(np.int64),
    rknn_tensor_type.RKNN_TENSOR_BOOL: np.dtype(np.bool_),
    rknn_tensor_type.RKNN_TENSOR_BFLOAT16: np.dtype(np.uint16),
}


class Quantisation(NamedTuple):
    """The scale and the zero point of a quantised tensor."""

    scale: float
    zero_point: int


def element_dtype(element_type: int, code: rknn_error) -> np.dtype:
    """Return how elements of an RKNN type lie in memory; ``code`` for a number that is no byte-sized type."""
    dtype = DTYPES.get(element_type)
    if dtype is None:
        raise RknnError(code, f"elements of type {element_type} are not supported here")
    return dtype


def read_elements(memory: Bytes, element_type: int) -> Array:
    """Return bytes as elements: a view, except for bfloat16, which becomes float32, and bool, made to be 0 or 1."""
    if element_type == BFLOAT16:
        widened = memory.view(np.uint16).astype(np.uint32)
        widened <<= 16
        numbers: Array = widened.view(np.float32)
        return numbers
    if element_type == rknn_tensor_type.RKNN_TENSOR_BOOL:
        flags: Array = memory != 0
        return flags
    values: Array = memory.view(DTYPES[element_type])
    return values


def cast(values: Array, element_type: int) -> Array:
    """Return the same numbers as another type; ``values`` itself where it is of this type."""
    if element_type == BFLOAT16:
        return _bfloat16_bits(values)
    with np.errstate(invalid="ignore", over="ignore"):
        return values.astype(DTYPES[element_type], copy=False)


def quantise(values: Array, quantisation: Quantisation, dtype: np.dtype) -> Array:
    """Return round(values / scale + zero point), clipped, as integers of ``dtype``."""
    limits = np.iinfo(dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = values.astype(np.float32)
        scaled /= np.float32(quantisation.scale)
        scaled += np.float32(quantisation.zero_point)
        np.rint(scaled, out=scaled)
        # Unlike minimum, fmin takes the number where the other operand is NaN.
        np.fmin(scaled, np.float32(limits.max), out=scaled)
        np.fmax(scaled, np.float32(limits.min), out=scaled)
        return scaled.astype(dtype)


def dequantise(values: Array, quantisation: Quantisation) -> Array:
    """Return (values - zero point) * scale as float32."""
    real = values.astype(np.float32)
    real -= np.float32(quantisation.zero_point)
    real *= np.float32(quantisation.scale)
    return real


def _bfloat16_bits(values: Array) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        numbers = np.ascontiguousarray(values, np.float32)
    bits = numbers.view(np.uint32)
    # Round half to even: the last bit that stays decides.
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(numbers), np.uint16(0x7FC0), rounded)

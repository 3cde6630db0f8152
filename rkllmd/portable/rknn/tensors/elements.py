"""Element types, and the conversions between them.

A quantised integer q stands for the real number (q - zero point) * scale. Quantising rounds half to even. What becomes
an integer is clipped to the type's range, and NaN becomes the zero point (0 where nothing is quantised): C leaves both
undefined, and x86 and ARM differ. All other casts are numpy's (C's).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rkllmd.abi.layouts.rknn_constants import rknn_error, rknn_tensor_type
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


_SINGLE = np.dtype(np.float32)


class Quantisation(NamedTuple):
    """The scale and the zero point of a quantised tensor."""

    scale: float
    zero_point: int


def element_dtype(element_type: int, code: rknn_error) -> np.dtype:
    """Return how elements of an RKNN type lie in memory; raises ``code`` for one whose elements are not whole bytes."""
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
    dtype = DTYPES[element_type]
    if dtype.kind in "iu" and values.dtype != dtype:
        return to_integers(values, dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        return values.astype(dtype, copy=False)


def to_integers(values: Array, dtype: np.dtype, nan: int = 0) -> Array:
    """Return numbers as integers of ``dtype``: what is beyond its range is its limit, NaN is ``nan``."""
    limits = np.iinfo(dtype)
    if values.dtype.kind != "f":
        if np.can_cast(values.dtype, dtype):
            return values.astype(dtype)
        given = np.iinfo(values.dtype)
        return np.asarray(np.clip(values, max(given.min, limits.min), min(given.max, limits.max)), dtype)
    if values.dtype.itemsize < _SINGLE.itemsize:  # float16 ends before most integers do
        values = values.astype(_SINGLE)
    kind = values.dtype.type
    # The least integer is a power of two or 0, and so a float as well. One more than the greatest is a power of two,
    # too, but the greatest itself may lie between two floats: so numbers are clipped to the float below it, and those
    # that were beyond are set afterwards.
    beyond = kind(2.0 ** (limits.bits - (dtype.kind == "i")))
    clipped = np.asarray(np.clip(values, kind(limits.min), np.nextafter(beyond, kind(0))))  # also of a scalar
    is_nan = np.isnan(values)
    clipped[is_nan] = 0
    found: Array = clipped.astype(dtype)
    found[values >= beyond] = limits.max
    found[is_nan] = nan
    return found


def quantise(values: Array, quantisation: Quantisation, dtype: np.dtype) -> Array:
    """Return round(values / scale + zero point), clipped, as integers of ``dtype``."""
    real = _real_dtype(dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = values.astype(real)
        scaled /= real.type(quantisation.scale)
        scaled += real.type(quantisation.zero_point)
        np.rint(scaled, out=scaled)
    return to_integers(scaled, dtype, quantisation.zero_point)


def dequantise(values: Array, quantisation: Quantisation) -> Array:
    """Return (values - zero point) * scale as float32."""
    kind = _real_dtype(values.dtype)
    real = values.astype(kind)
    real -= kind.type(quantisation.zero_point)
    real *= kind.type(quantisation.scale)
    with np.errstate(over="ignore"):
        return real.astype(_SINGLE, copy=False)


def _real_dtype(dtype: np.dtype) -> np.dtype:
    """Return the floats to quantise with: those that hold every integer of ``dtype`` (of 64 bits, nearly every one)."""
    return _SINGLE if dtype.itemsize <= np.dtype(np.int16).itemsize else np.dtype(np.float64)


def _bfloat16_bits(values: Array) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        numbers = np.ascontiguousarray(values, np.float32)
    bits = numbers.view(np.uint32)
    # Round half to even: the last bit that stays decides.
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(numbers), np.uint16(0x7FC0), rounded)

"""The element types of A, B and C for each rknn_matmul_type, and how they lie in memory.

int4 is two elements to a byte, the low half first, each from -8 to 7. int4 and int8 are worked with as int8, float16
and bfloat16 as float32.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rkllmd.abi.layouts.rknn_constants import rknn_error, rknn_tensor_type
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_type
from rkllmd.portable.rknn.c_memory import Array, Bytes, raw
from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.tensors import elements

INT4 = rknn_tensor_type.RKNN_TENSOR_INT4
INT8 = rknn_tensor_type.RKNN_TENSOR_INT8
_INT16 = rknn_tensor_type.RKNN_TENSOR_INT16
_INT32 = rknn_tensor_type.RKNN_TENSOR_INT32
_FLOAT16 = rknn_tensor_type.RKNN_TENSOR_FLOAT16
_FLOAT32 = rknn_tensor_type.RKNN_TENSOR_FLOAT32
_BFLOAT16 = rknn_tensor_type.RKNN_TENSOR_BFLOAT16


class ElementTypes(NamedTuple):
    """The element types of the three matrices."""

    a: rknn_tensor_type
    b: rknn_tensor_type
    c: rknn_tensor_type


_TYPES = {
    rknn_matmul_type.RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT32: ElementTypes(_FLOAT16, _FLOAT16, _FLOAT32),
    rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32: ElementTypes(INT8, INT8, _INT32),
    rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT8: ElementTypes(INT8, INT8, INT8),
    rknn_matmul_type.RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT16: ElementTypes(_FLOAT16, _FLOAT16, _FLOAT16),
    rknn_matmul_type.RKNN_FLOAT16_MM_INT8_TO_FLOAT32: ElementTypes(_FLOAT16, INT8, _FLOAT32),
    rknn_matmul_type.RKNN_FLOAT16_MM_INT8_TO_FLOAT16: ElementTypes(_FLOAT16, INT8, _FLOAT16),
    rknn_matmul_type.RKNN_FLOAT16_MM_INT4_TO_FLOAT32: ElementTypes(_FLOAT16, INT4, _FLOAT32),
    rknn_matmul_type.RKNN_FLOAT16_MM_INT4_TO_FLOAT16: ElementTypes(_FLOAT16, INT4, _FLOAT16),
    rknn_matmul_type.RKNN_INT8_MM_INT8_TO_FLOAT32: ElementTypes(INT8, INT8, _FLOAT32),
    rknn_matmul_type.RKNN_INT4_MM_INT4_TO_INT16: ElementTypes(INT4, INT4, _INT16),
    rknn_matmul_type.RKNN_INT8_MM_INT4_TO_INT32: ElementTypes(INT8, INT4, _INT32),
    rknn_matmul_type.RKNN_FLOAT16_MM_INT4_TO_BFLOAT16: ElementTypes(_FLOAT16, INT4, _BFLOAT16),
    rknn_matmul_type.RKNN_INT8_MM_INT4_TO_FLOAT16: ElementTypes(INT8, INT4, _FLOAT16),
}


def element_types(matmul_type: int) -> ElementTypes:
    """Return the element types of an rknn_matmul_type; RKNN_ERR_PARAM_INVALID if there is none of this number."""
    for known, types in _TYPES.items():
        if known == matmul_type:
            return types
    raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"there is no matmul type {matmul_type}")


def byte_size(element_type: int, count: int) -> int:
    """Return the bytes that ``count`` elements take."""
    return (count + 1) // 2 if element_type == INT4 else count * elements.DTYPES[element_type].itemsize


def unpack(memory: Bytes, element_type: int, count: int) -> Array:
    """Return ``count`` elements as int8, int16, int32, or float numbers; a view where that is possible."""
    if element_type != INT4:
        return elements.read_elements(memory, element_type)
    pairs = memory.view(np.int8)
    unpacked = np.empty(2 * pairs.size, np.int8)
    # Shifted up and down again, the sign bit of a half fills the byte.
    np.right_shift(pairs << 4, 4, out=unpacked[0::2])
    np.right_shift(pairs, 4, out=unpacked[1::2])
    return unpacked[:count]


def pack(values: Array, element_type: int) -> Bytes:
    """Return numbers that fit the type as its bytes; integers out of its range become its biggest or smallest."""
    if element_type == INT4:
        halves = np.zeros((values.size + 1) // 2 * 2, np.uint8)
        halves[: values.size] = values.reshape(-1).astype(np.int8).view(np.uint8) & 0xF
        halves[0::2] |= halves[1::2] << 4
        return halves[0::2].copy()
    return raw(elements.cast(values, element_type))

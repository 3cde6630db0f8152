"""Element types, and the conversions between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rkllmd.abi.layouts.rknn_constants import rknn_error, rknn_tensor_type
from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.tensors import elements
from rkllmd.portable.rknn.tensors.elements import Quantisation
from tests.portable.rknn.graphs import Array


def test_bfloat16_is_rounded_half_to_even() -> None:
    given = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0xFF800000, 0x7F800001], np.uint32)
    bits: Array = elements.cast(given.view(np.float32), rknn_tensor_type.RKNN_TENSOR_BFLOAT16)
    assert [hex(int(number)) for number in bits] == ["0x3f80", "0x3f82", "0x3f81", "0x7f80", "0xff80", "0x7fc0"]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
def test_quantising_what_was_dequantised_gives_it_back(dtype: type[np.integer]) -> None:
    limits = np.iinfo(dtype)
    values = np.arange(limits.min, limits.max + 1).astype(dtype)
    quantisation = Quantisation(0.037, 5)
    real = elements.dequantise(values, quantisation)
    np.testing.assert_array_equal(elements.quantise(real, quantisation, np.dtype(dtype)), values)


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "given", "dtype", "expected"),
    [
        ([1.9, -1.9, NAN, INFINITE, -INFINITE], np.float32, np.int8, [1, -1, 0, 127, -128]),
        ([2.0**31, 2.0**31 - 128, -(2.0**31)], np.float32, np.int32, [2**31 - 1, 2**31 - 128, -(2**31)]),
        ([1e30, -1e30], np.float64, np.int64, [2**63 - 1, -(2**63)]),
        ([65504.0, -1.0], np.float16, np.uint32, [65504, 0]),
        ([300, -300], np.int32, np.int8, [127, -128]),
        ([300, -300], np.int32, np.uint8, [255, 0]),
        ([-1], np.int8, np.uint16, [0]),
        ([200], np.uint8, np.int16, [200]),
    ],
)
def test_what_is_beyond_an_integer_type_is_its_limit(
    values: list[Any], given: Any, dtype: Any, expected: list[int]
) -> None:
    found = elements.to_integers(np.array(values, given), np.dtype(dtype))
    assert (found.dtype, found.tolist()) == (np.dtype(dtype), expected)


def test_no_number_becomes_the_zero_point() -> None:
    found = elements.quantise(np.array([NAN, 0.0], np.float32), Quantisation(0.5, -7), np.dtype(np.int8))
    assert found.tolist() == [-7, -7]


def test_quantising_rounds_half_to_even() -> None:
    found = elements.quantise(np.array([0.5, 1.5, 2.5, -0.5], np.float32), Quantisation(1.0, 0), np.dtype(np.int8))
    assert found.tolist() == [0, 2, 2, 0]


def test_integers_of_32_bits_are_quantised_with_floats_that_hold_them() -> None:
    values = np.array([2**31 - 1, -(2**31) + 1], np.int32)
    real = elements.dequantise(values, Quantisation(1.0, 0))
    assert real.dtype == np.float32
    found = elements.quantise(np.array([16_777_217.0], np.float64), Quantisation(1.0, 0), np.dtype(np.int32))
    assert found.tolist() == [16_777_217], "float32 does not have it"


def test_bytes_are_seen_as_elements_and_truth_is_0_or_1() -> None:
    memory = np.array([0, 2, 255, 1], np.uint8)
    assert elements.read_elements(memory, rknn_tensor_type.RKNN_TENSOR_BOOL).tolist() == [False, True, True, True]
    seen = elements.read_elements(memory, rknn_tensor_type.RKNN_TENSOR_UINT16)
    memory[0] = 7
    assert seen.tolist() == [2 << 8 | 7, 1 << 8 | 255]
    widened = elements.read_elements(np.array([0x80, 0x3F], np.uint8), rknn_tensor_type.RKNN_TENSOR_BFLOAT16)
    assert widened.tolist() == [1.0]


def test_elements_that_are_not_whole_bytes_are_refused_with_the_callers_code() -> None:
    with pytest.raises(RknnError, match="elements of type") as caught:
        elements.element_dtype(rknn_tensor_type.RKNN_TENSOR_INT4, rknn_error.RKNN_ERR_INPUT_INVALID)
    assert caught.value.code is rknn_error.RKNN_ERR_INPUT_INVALID
    assert elements.element_dtype(rknn_tensor_type.RKNN_TENSOR_INT8, rknn_error.RKNN_ERR_FAIL) == np.int8

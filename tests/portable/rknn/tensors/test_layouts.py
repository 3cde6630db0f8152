"""Layouts and element types by themselves."""

from __future__ import annotations

import numpy as np
import pytest

from rkllmd.abi.layouts.rknn_constants import rknn_tensor_type
from rkllmd.portable.rknn.c_memory import raw, view
from rkllmd.portable.rknn.tensors import elements, layouts
from rkllmd.portable.rknn.tensors.elements import Quantisation
from tests.portable.rknn.models import Array

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("element_type", layouts.CHANNEL_GROUP)
@pytest.mark.parametrize("layout", [layouts.NCHW, layouts.NHWC, layouts.NC1HWC2])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 4, 5), (1, 16, 2, 3), (2, 17, 1, 3), (1, 32, 2, 2)])
def test_there_and_back(shape: tuple[int, ...], layout: int, element_type: int) -> None:
    values = RNG.integers(0, 100, shape).astype(elements.DTYPES[element_type])
    stored = layouts.to_stored(values, layout, element_type)
    assert stored.shape == layouts.stored_shape(shape, layout, element_type)
    np.testing.assert_array_equal(layouts.from_stored(np.ascontiguousarray(stored), shape, layout), values)


def test_the_order_of_nc1hwc2() -> None:
    values = RNG.integers(0, 100, (2, 20, 3, 4)).astype(np.int8)
    stored = layouts.to_stored(values, layouts.NC1HWC2, 2)
    for n, c, h, w in np.ndindex(2, 20, 3, 4):
        assert stored[n, c // 16, h, w, c % 16] == values[n, c, h, w]
    assert not stored[:, 1, :, :, 4:].any()


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


def test_memory_is_seen_and_not_copied() -> None:
    owner = np.zeros(8, np.uint8)
    view(owner.ctypes.data, 8)[:] = 7
    assert owner.tolist() == [7] * 8
    assert view(0, 0).size == 0
    assert raw(owner).ctypes.data == owner.ctypes.data
    assert raw(np.array(1.0, np.float32)).size == 4

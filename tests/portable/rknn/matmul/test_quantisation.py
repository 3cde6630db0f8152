"""Scales and zero points: which a matrix may have, how many it needs, and what they do."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_quant_type, rknn_quant_params
from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.matmul import quantisation
from rkllmd.portable.rknn.matmul.layouts import Size
from rkllmd.portable.rknn.matmul.quantisation import Parameters, Scheme

Quant = rknn_matmul_quant_type
LAYER = Scheme(is_per_channel=False, is_symmetric=False, group_size=0)
CHANNEL = Scheme(is_per_channel=True, is_symmetric=False, group_size=0)
GROUP = Scheme(is_per_channel=False, is_symmetric=True, group_size=32)
SIZES = [Size(1, 64, 4), Size(1, 64, 6)]


@pytest.mark.parametrize(
    ("quant_type", "is_b", "scheme"),
    [
        (Quant.RKNN_QUANT_TYPE_PER_LAYER_SYM, False, Scheme(False, True, 0)),
        (Quant.RKNN_QUANT_TYPE_PER_LAYER_ASYM, True, Scheme(False, False, 0)),
        (Quant.RKNN_QUANT_TYPE_PER_CHANNEL_ASYM, True, Scheme(True, False, 0)),
        (Quant.RKNN_QUANT_TYPE_PER_GROUP_SYM, True, Scheme(False, True, 32)),
    ],
)
def test_the_scheme_of_a_type(quant_type: int, is_b: bool, scheme: Scheme) -> None:
    assert quantisation.scheme(quant_type, 32, is_b=is_b) == scheme


@pytest.mark.parametrize(
    ("quant_type", "group_size", "is_b", "said"),
    [
        (Quant.RKNN_QUANT_TYPE_PER_CHANNEL_SYM, 0, False, "the quantisation type of A and C is"),
        (99, 0, True, "the quantisation type of B is 99"),
        (Quant.RKNN_QUANT_TYPE_PER_GROUP_SYM, 0, True, "group_size is 0"),
    ],
)
def test_a_type_that_a_matrix_can_not_have(quant_type: int, group_size: int, is_b: bool, said: str) -> None:
    with pytest.raises(RknnError, match=said):
        quantisation.scheme(quant_type, group_size, is_b=is_b)


@pytest.mark.parametrize(("scheme", "shape"), [(LAYER, (1, 1)), (CHANNEL, (1, 4)), (GROUP, (2, 4))])
def test_how_many_there_are(scheme: Scheme, shape: tuple[int, int]) -> None:
    assert scheme.shape(SIZES[0]) == shape


def given(scales: list[float], zero_points: list[int] = []) -> rknn_quant_params:  # noqa: B006  # nobody changes it
    params = rknn_quant_params(scale_len=len(scales), zp_len=len(zero_points))
    params.scale = (ctypes.c_float * len(scales))(*scales)
    params.zp = (ctypes.c_int32 * max(1, len(zero_points)))(*zero_points)
    return params


def test_they_are_for_the_first_size_that_needs_as_many() -> None:
    found = quantisation.read(given([0.5] * 6, [1, 2, 3, 4, 5, 6]), CHANNEL, SIZES)
    assert (found.scale.shape, found.zero_point.tolist()) == ((1, 6), [[1, 2, 3, 4, 5, 6]])
    one = quantisation.read(given([0.5] * 4, [7]), CHANNEL, SIZES)
    assert one.zero_point.tolist() == [[7] * 4], "one is for all"
    assert quantisation.read(given([0.5] * 8), GROUP, SIZES).zero_point.shape == (2, 4)


@pytest.mark.parametrize(
    ("params", "scheme", "said"),
    [
        (given([0.5] * 5), CHANNEL, "4 scales are needed, and 5 are given"),
        (rknn_quant_params(scale_len=4), CHANNEL, "4 scales are needed, and 0 are given"),
        (given([0.0]), LAYER, "a scale is not a positive number"),
        (given([float("nan")]), LAYER, "a scale is not a positive number"),
        (given([0.5] * 4, [1, 2]), CHANNEL, "4 zero points are needed, and 2 are given"),
        (given([0.5] * 8, [1]), GROUP, "a symmetric quantisation has no zero points"),
    ],
)
def test_parameters_that_do_not_do(params: Any, scheme: Scheme, said: str) -> None:
    with pytest.raises(RknnError, match=f"^{said}$"):
        quantisation.read(params, scheme, SIZES)


def test_b_as_real_numbers() -> None:
    b = np.arange(8, dtype=np.int8).reshape(4, 2)
    groups = Scheme(False, False, 2)
    parameters = Parameters(np.array([[1, 2], [3, 4]], np.float32), np.array([[0, 1], [0, 0]], np.int32))
    expected = [[0, 0], [2, 4], [12, 20], [18, 28]]
    assert quantisation.dequantise_b(b, parameters, groups, np.float64).tolist() == expected
    assert quantisation.dequantise_b(b, quantisation.neutral(), groups, np.float32).tolist() == b.tolist()


def test_parameters_of_a_smaller_size_are_too_few_for_a_greater() -> None:
    parameters = Parameters(np.ones((1, 4), np.float32), np.zeros((1, 4), np.int32))
    with pytest.raises(RknnError, match=r"^B has quantisation parameters for \(1, 4\), and \(1, 6\) are needed$"):
        quantisation.dequantise_b(np.zeros((64, 6), np.int8), parameters, CHANNEL, np.float32)

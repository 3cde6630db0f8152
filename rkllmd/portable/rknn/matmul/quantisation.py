"""Scales and zero points of matrices.

A quantised element q stands for (q - zero point) * scale. A and C have one pair; B has one, one for each of its N
columns, or one for each column of each group of ``group_size`` rows, in the order [K / group_size][N] (the order of the
vendor's own example). Without parameters the scale is 1 and the zero point 0.
"""

from __future__ import annotations

import numpy as np

from rkllmd.abi.layouts.rknn_constants import rknn_error
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_quant_type, rknn_quant_params
from rkllmd.portable.rknn.c_memory import Array
from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.matmul.layouts import Size
from rkllmd.quick_dataclass import dataclass

_PER_CHANNEL = (
    rknn_matmul_quant_type.RKNN_QUANT_TYPE_PER_CHANNEL_SYM,
    rknn_matmul_quant_type.RKNN_QUANT_TYPE_PER_CHANNEL_ASYM,
)
_PER_GROUP = (
    rknn_matmul_quant_type.RKNN_QUANT_TYPE_PER_GROUP_SYM,
    rknn_matmul_quant_type.RKNN_QUANT_TYPE_PER_GROUP_ASYM,
)
_PER_LAYER = (
    rknn_matmul_quant_type.RKNN_QUANT_TYPE_PER_LAYER_SYM,
    rknn_matmul_quant_type.RKNN_QUANT_TYPE_PER_LAYER_ASYM,
)


@dataclass(frozen=True)
class Scheme:
    """How a matrix is quantised. ``group_size`` counts rows of B, 0 where there are no groups."""

    is_per_channel: bool
    is_symmetric: bool
    group_size: int

    def shape(self, size: Size) -> tuple[int, int]:
        """Return how many groups and columns the parameters have for a product of this size."""
        if self.group_size:
            return (size.k // self.group_size, size.n)
        return (1, size.n if self.is_per_channel else 1)


@dataclass(frozen=True)
class Parameters:
    """Scales (float32) and zero points (int32), both [groups, columns]."""

    scale: Array
    zero_point: Array


def scheme(quant_type: int, group_size: int, *, is_b: bool) -> Scheme:
    """Return the scheme of an rknn_matmul_quant_type; RKNN_ERR_PARAM_INVALID if this matrix cannot have it."""
    allowed = [*_PER_LAYER, *_PER_CHANNEL, *_PER_GROUP] if is_b else [*_PER_LAYER]
    if quant_type not in allowed:
        name = "B" if is_b else "A and C"
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"the quantisation type of {name} is {quant_type}")
    is_grouped = quant_type in _PER_GROUP
    if is_grouped and group_size < 1:
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"group_size is {group_size}")
    return Scheme(quant_type in _PER_CHANNEL, quant_type % 2 == 0, group_size if is_grouped else 0)


def neutral() -> Parameters:
    """Return scale 1 and zero point 0."""
    return Parameters(np.ones((1, 1), np.float32), np.zeros((1, 1), np.int32))


def read(params: rknn_quant_params, wanted: Scheme, sizes: list[Size]) -> Parameters:
    """Return the parameters that a caller gives: they are for the first of ``sizes`` that needs as many as there are.

    RKNN_ERR_PARAM_INVALID for a count that fits no size, for a scale that is no positive number, and for a zero point
    in a symmetric scheme.
    """
    shapes = [wanted.shape(size) for size in sizes]
    shape = next((shape for shape in shapes if shape[0] * shape[1] == params.scale_len), None)
    if shape is None or not params.scale:
        needed = shapes[0][0] * shapes[0][1]
        raise _invalid(f"{needed} scales are needed, and {params.scale_len if params.scale else 0} are given")
    scale = np.ctypeslib.as_array(params.scale, shape).astype(np.float32)
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise _invalid("a scale is not a positive number")
    zero_point = np.zeros(shape, np.int32)
    if params.zp and params.zp_len > 0:
        if params.zp_len not in (1, params.scale_len):
            raise _invalid(f"{params.scale_len} zero points are needed, and {params.zp_len} are given")
        given = np.ctypeslib.as_array(params.zp, (params.zp_len,))
        zero_point[...] = given.reshape(shape) if given.size == zero_point.size else given[0]
    if wanted.is_symmetric and zero_point.any():
        raise _invalid("a symmetric quantisation has no zero points")
    return Parameters(scale, zero_point)


def dequantise_b(matrix: Array, parameters: Parameters, wanted: Scheme, dtype: type[np.floating]) -> Array:
    """Return B [K, N] as real numbers of ``dtype``. RKNN_ERR_PARAM_INVALID if there are too few parameters for it."""
    k, n = matrix.shape
    scale, zero_point = parameters.scale, parameters.zero_point
    if scale.size > 1:
        groups, columns = wanted.shape(Size(0, k, n))
        if scale.shape[0] < groups or scale.shape[1] < columns:
            raise _invalid(f"B has quantisation parameters for {scale.shape}, and {(groups, columns)} are needed")
        scale, zero_point = scale[:groups, :columns], zero_point[:groups, :columns]
    real = matrix.astype(dtype).reshape(scale.shape[0], -1, n)
    real -= zero_point[:, None, :].astype(dtype)
    real *= scale[:, None, :].astype(dtype)
    return real.reshape(k, n)


def _invalid(sentence: str) -> RknnError:
    return RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, sentence)

"""The orders in which the elements of a tensor may lie in memory.

An ONNX graph's four-dimensional tensors are NCHW. RKNN shows inputs as NHWC. The native layout of the vendor's NPU is
NC1HWC2, the channels in groups of C2: [N, ceil(C / C2), H, W, C2], the last group filled up with zeros. C2 is 16 bytes'
worth: 16 for 8-bit elements, 8 for float16 (the vendor's documentation; not compared with a board). Tensors of other
ranks have one order only.
"""

from __future__ import annotations

import numpy as np

from rkllmd.abi.layouts.rknn_constants import rknn_error, rknn_tensor_format, rknn_tensor_type
from rkllmd.portable.rknn.c_memory import Array
from rkllmd.portable.rknn.errors import RknnError

NCHW = rknn_tensor_format.RKNN_TENSOR_NCHW
NHWC = rknn_tensor_format.RKNN_TENSOR_NHWC
NC1HWC2 = rknn_tensor_format.RKNN_TENSOR_NC1HWC2
UNDEFINED = rknn_tensor_format.RKNN_TENSOR_UNDEFINED

Shape = tuple[int, ...]

CHANNEL_GROUP = {
    int(rknn_tensor_type.RKNN_TENSOR_INT8): 16,
    int(rknn_tensor_type.RKNN_TENSOR_UINT8): 16,
    int(rknn_tensor_type.RKNN_TENSOR_FLOAT16): 8,
}


def stored_shape(shape: Shape, layout: int, element_type: int) -> Shape:
    """Return the shape in memory of a tensor whose shape in the graph is ``shape``.

    RKNN_ERR_PARAM_INVALID for a layout that does not exist, or that does not exist for this rank and type.
    """
    if not NCHW <= layout <= UNDEFINED:
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"there is no tensor format {layout}")
    if layout == NC1HWC2:
        group = CHANNEL_GROUP.get(element_type)
        if len(shape) != 4 or group is None:
            raise RknnError(
                rknn_error.RKNN_ERR_PARAM_INVALID,
                "NC1HWC2 is only for tensors of four dimensions with int8, uint8 or float16 elements",
            )
        batch, channels, height, width = shape
        return (batch, -(-channels // group), height, width, group)
    if layout == NHWC and len(shape) == 4:
        batch, channels, height, width = shape
        return (batch, height, width, channels)
    return shape


def from_stored(stored: Array, shape: Shape, layout: int) -> Array:
    """Return a view, in the graph's order, of elements that lie as ``stored_shape`` says."""
    if layout == NC1HWC2:
        batch, channels, height, width = shape
        grouped = stored.transpose(0, 1, 4, 2, 3)
        return grouped.reshape(batch, -1, height, width)[:, :channels]
    if layout == NHWC and len(shape) == 4:
        return stored.transpose(0, 3, 1, 2)
    return stored


def to_stored(values: Array, layout: int, element_type: int) -> Array:
    """Return elements in the graph's order as they lie in memory in ``layout``."""
    if layout == NC1HWC2:
        batch, groups, height, width, group = stored_shape(values.shape, layout, element_type)
        padded = np.zeros((batch, groups * group, height, width), values.dtype)
        padded[:, : values.shape[1]] = values
        return padded.reshape(batch, groups, group, height, width).transpose(0, 1, 3, 4, 2)
    if layout == NHWC and values.ndim == 4:
        return values.transpose(0, 2, 3, 1)
    return values


def graph_shape(dims: Shape, layout: int) -> Shape:
    """Return the graph's shape for dimensions that a caller gives in ``layout``: NHWC or the graph's own."""
    if layout == NHWC and len(dims) == 4:
        batch, height, width, channels = dims
        return (batch, channels, height, width)
    return dims

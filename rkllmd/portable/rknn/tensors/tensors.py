"""The inputs and outputs of a graph: what is known of each, how it is shown, how its values come in and go out."""

from __future__ import annotations

import ctypes
from math import prod

import numpy as np

from rkllmd.abi.layouts.rknn import rknn_tensor_attr
from rkllmd.abi.layouts.rknn_constants import RKNN_MAX_DIMS, RKNN_MAX_NAME_LEN, rknn_error, rknn_tensor_qnt_type
from rkllmd.portable.rknn.c_memory import Array, Bytes, raw
from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.tensors import elements, layouts
from rkllmd.portable.rknn.tensors.layouts import Shape
from rkllmd.quick_dataclass import dataclass

_MOST_BYTES = 2**32 - 1  # C's size has 32 bits


@dataclass(frozen=True)
class Tensor:
    """An input or output. ``dims`` is its shape in the graph, where a str or None is a symbolic dimension.

    () is a scalar, or a tensor whose rank the graph does not say: ONNX Runtime reports both alike.
    """

    index: int
    name: str
    type: int
    dims: tuple[int | str | None, ...]
    quantisation: elements.Quantisation | None

    @property
    def c_name(self) -> bytes:
        """The name, cut so that it fits into a struct: to 255 bytes, and never within a character."""
        return self.name.encode()[: RKNN_MAX_NAME_LEN - 1].decode("utf-8", "ignore").encode()

    def native_layout(self, shape: Shape) -> int | None:
        """Return NC1HWC2 if this tensor has that layout when its shape in the graph is ``shape``."""
        has_it = len(shape) == 4 and self.type in layouts.CHANNEL_GROUP
        return layouts.NC1HWC2 if has_it else None


@dataclass(frozen=True)
class Form:
    """How the values of a tensor lie in a caller's memory."""

    type: int
    layout: int

    def size(self, shape: Shape) -> int:
        """Return the bytes that a tensor takes whose shape in the graph is ``shape``."""
        return prod(layouts.stored_shape(shape, self.layout, self.type)) * elements.DTYPES[self.type].itemsize


def form_of(tensor: Tensor, element_type: int, layout: int, pass_through: int, code: rknn_error) -> Form:
    """Return the form that a caller asks for; ``code`` if there is no such form.

    ``pass_through`` leaves the values as they are, so the type is the tensor's own; the layout counts all the same.
    """
    if pass_through:
        element_type = tensor.type
    elements.element_dtype(element_type, code)
    return Form(element_type, layout)


def describe(attr: rknn_tensor_attr, tensor: Tensor, shape: Shape, layout: int) -> None:
    """Fill ``attr`` with what is known of ``tensor``, dimensions and size as they are in ``layout``.

    RKNN_ERR_FAIL for what the struct can't say.
    """
    stored = layouts.stored_shape(shape, layout, tensor.type)
    size = prod(stored) * elements.DTYPES[tensor.type].itemsize
    if len(stored) > RKNN_MAX_DIMS or size > _MOST_BYTES:
        raise RknnError(
            rknn_error.RKNN_ERR_FAIL,
            f"{tensor.name} has {len(stored)} dimensions and {size} bytes; {RKNN_MAX_DIMS} dimensions and "
            f"{_MOST_BYTES} bytes are the most",
        )
    ctypes.memset(ctypes.byref(attr), 0, ctypes.sizeof(attr))
    attr.index = tensor.index
    attr.name = tensor.c_name
    attr.n_dims = len(stored)
    attr.dims[: len(stored)] = stored
    attr.n_elems = prod(stored)
    attr.size = attr.size_with_stride = size
    attr.fmt = layout if len(shape) == 4 else layouts.UNDEFINED
    attr.type = tensor.type
    # Rows are never padded here, so a row's stride is its width.
    attr.w_stride = shape[3] if len(shape) == 4 else 0
    if tensor.quantisation:
        attr.qnt_type = rknn_tensor_qnt_type.RKNN_TENSOR_QNT_AFFINE_ASYMMETRIC
        attr.scale, attr.zp = tensor.quantisation


def take_in(memory: Bytes, tensor: Tensor, shape: Shape, form: Form) -> Array:
    """Return the values that lie in ``memory`` as the graph takes them.

    Always a copy, even if nothing has to be converted: the memory may be shared with a client, and an index that the
    graph has checked must not change before it is used.
    """
    stored = elements.read_elements(memory, form.type)
    values = layouts.from_stored(
        stored.reshape(layouts.stored_shape(shape, form.layout, form.type)), shape, form.layout
    )
    if form.type == tensor.type:
        return np.array(values, order="C", copy=True)
    if tensor.quantisation:
        converted = elements.quantise(values, tensor.quantisation, elements.DTYPES[tensor.type])
    else:
        converted = elements.cast(values, tensor.type)
    # Not ascontiguousarray, which makes a list of one element out of a scalar.
    return np.asarray(converted, order="C")


def give_out(values: Array, tensor: Tensor, form: Form) -> Bytes:
    """Return the bytes of an output's values in a caller's form; integers of the tensor's own type are unchanged."""
    if form.type != tensor.type:
        if tensor.quantisation:
            values = elements.dequantise(values, tensor.quantisation)
        values = elements.cast(values, form.type)
    return raw(layouts.to_stored(values, form.layout, form.type))

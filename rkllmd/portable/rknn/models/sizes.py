"""How much memory a context takes."""

from __future__ import annotations

from math import prod

from rkllmd.portable.rknn.models.context import Context
from rkllmd.portable.rknn.tensors.elements import DTYPES


def internal(context: Context) -> int:
    """Return an estimate of what a run takes beside the weights, in bytes: its inputs and outputs."""
    tensors = [*context.model.inputs, *context.model.outputs]
    shapes = [*context.shapes, *context.output_shapes()]
    return sum(prod(shape) * DTYPES[tensor.type].itemsize for tensor, shape in zip(tensors, shapes, strict=True))

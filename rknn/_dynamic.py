"""Models that take inputs of several shapes: what a client can do about data that does not fit the current shape."""

from __future__ import annotations

from typing import Final

from rkllmd.abi.layouts.rknn_constants import rknn_query_cmd
from rkllmd.errors import NotSupported, RuntimeFailure
from rkllmd.vision.objects import Context
from rkllmd.vision.runtime import RknnRuntime
from rknn._attributes import ask

# A sentence can list this many shapes.
_FEW: Final = 4


def other_shapes(rknn: RknnRuntime, ctx: Context, index: int) -> str:
    """Return a sentence about the other shapes that an input may have, or "" if it has only one.

    Called on the worker thread, and only after an error: the vendor's runtime prints one more if a model has no dynamic
    shapes.
    """
    try:
        found = ask(rknn, ctx, rknn_query_cmd.RKNN_QUERY_INPUT_DYNAMIC_RANGE, index)
    except (RuntimeFailure, NotSupported):
        return ""
    if found.shape_number <= 1:
        # The portable runtime lists no shapes for a graph that takes any shape.
        is_open = rknn.name == "portable"
        return " If the model takes other sizes, set them first with rknn.set_input_shapes." if is_open else ""
    shapes = [list(found.dyn_range[number][: found.n_dims]) for number in range(min(found.shape_number, _FEW))]
    more = " and others" if found.shape_number > _FEW else ""
    return f" Its shapes are {', '.join(map(str, shapes))}{more}: choose one with rknn.set_input_shapes first."

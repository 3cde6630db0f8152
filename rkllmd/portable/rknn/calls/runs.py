"""The functions around a run: inputs, shapes, the run itself, outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rkllmd.abi.layouts.rknn import rknn_input, rknn_output, rknn_output_extend, rknn_run_extend, rknn_tensor_attr
from rkllmd.abi.layouts.rknn_constants import rknn_error, rknn_tensor_format
from rkllmd.portable.rknn import handles
from rkllmd.portable.rknn.c_memory import Array, Bytes, view
from rkllmd.portable.rknn.errors import RknnError, require
from rkllmd.portable.rknn.models.context import Context
from rkllmd.portable.rknn.models.model import fits
from rkllmd.portable.rknn.tensors import layouts
from rkllmd.portable.rknn.tensors.elements import FLOAT32
from rkllmd.portable.rknn.tensors.layouts import Shape
from rkllmd.portable.rknn.tensors.tensors import Form, form_of, give_out, take_in

if TYPE_CHECKING:
    from ctypes import _Pointer


def inputs_set(context: int, count: int, inputs: _Pointer[rknn_input]) -> None:
    """rknn_inputs_set: take in values, converted; the caller's buffers are not needed afterwards.

    ``pass_through`` means that the values are of the tensor's own type. Their layout is ``fmt``'s all the same, NCHW
    (the graph's own) where it is left 0, or the native one where only that has the given size. An input that was bound
    to a memory is not bound any more. If one of the inputs is wrong, none is taken.
    """
    found = handles.find(context, Context)
    require(count and inputs, rknn_error.RKNN_ERR_PARAM_INVALID, "there are no inputs")
    taken = dict(_take_input(found, inputs[position]) for position in range(count))
    found.values.update(taken)
    for index in taken:
        found.bound_inputs.pop(index, None)


def _take_input(context: Context, given: rknn_input) -> tuple[int, Array]:
    if given.index >= len(context.model.inputs):
        raise RknnError(rknn_error.RKNN_ERR_INPUT_INVALID, f"there is no input {given.index}")
    tensor = context.model.inputs[given.index]
    form = form_of(tensor, given.type, given.fmt, given.pass_through, rknn_error.RKNN_ERR_INPUT_INVALID)
    shape = context.shapes[tensor.index]
    size = form.size(shape)
    given_size = given.size if given.buf else 0
    native = tensor.native_layout(shape)
    if given.pass_through and given_size != size and native is not None:
        form = Form(tensor.type, native)
        size = form.size(shape)
    if given_size != size:
        raise RknnError(
            rknn_error.RKNN_ERR_INPUT_INVALID,
            f"input {tensor.index} ({tensor.name}) takes {size} bytes in this form, not {given_size}",
        )
    return tensor.index, take_in(view(given.buf, size), tensor, shape, form)


def set_input_shape(context: int, attr: _Pointer[rknn_tensor_attr]) -> None:
    """rknn_set_input_shape, the older form for one input."""
    set_input_shapes(context, 1, attr)


def set_input_shapes(context: int, count: int, attrs: _Pointer[rknn_tensor_attr]) -> None:
    """rknn_set_input_shapes: ``dims`` in the order of ``fmt``, NHWC or the graph's own.

    RKNN_ERR_PARAM_INVALID for a shape that the graph, or the metadata's list of shapes, does not allow; then no input's
    shape is changed.
    """
    found = handles.find(context, Context)
    require(count and attrs, rknn_error.RKNN_ERR_PARAM_INVALID, "there are no shapes")
    wanted = dict(_wanted_shape(found, attrs[position]) for position in range(count))
    shapes = [wanted.get(index, shape) for index, shape in enumerate(found.shapes)]
    sets = found.model.input_sets
    # Inputs that are set one by one pass through mixtures of two sets: so it is enough that each shape is in some set.
    if sets and not all(any(shape == group[index] for group in sets) for index, shape in enumerate(shapes)):
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"the model does not list the shapes {shapes}")
    found.abandon()
    found.set_shapes(wanted)


def _wanted_shape(context: Context, attr: rknn_tensor_attr) -> tuple[int, Shape]:
    if attr.index >= len(context.model.inputs):
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"there is no input {attr.index}")
    tensor = context.model.inputs[attr.index]
    if attr.fmt not in set(rknn_tensor_format) - {layouts.NC1HWC2}:
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"a shape cannot be given in the format {attr.fmt}")
    shape = layouts.graph_shape(tuple(attr.dims[: attr.n_dims]), attr.fmt)
    if not fits(tensor, shape):
        raise RknnError(
            rknn_error.RKNN_ERR_PARAM_INVALID,
            f"{list(shape)} does not fit to input {tensor.index} ({tensor.name}), in the graph {list(tensor.dims)}",
        )
    return tensor.index, shape


def run(context: int, extend: _Pointer[rknn_run_extend]) -> None:
    """rknn_run: frame_id becomes the number of the run, from 1 on.

    ``non_block``: rknn_wait or rknn_outputs_get takes the result. ``timeout_ms`` above 0 ends a blocking run that takes
    longer, with RKNN_ERR_TIMEOUT.
    """
    found = handles.find(context, Context)
    if not extend:
        found.run(blocking=True, timeout=None)
        return
    found.run(blocking=not extend.contents.non_block, timeout=_timeout(extend))
    extend.contents.frame_id = found.frame


def wait(context: int, extend: _Pointer[rknn_run_extend]) -> None:
    """rknn_wait: the result of a run with ``non_block``. After RKNN_ERR_TIMEOUT the run goes on."""
    found = handles.find(context, Context)
    found.finish(_timeout(extend))
    if extend:
        extend.contents.frame_id = found.frame


def _timeout(extend: _Pointer[rknn_run_extend]) -> float | None:
    milliseconds = extend.contents.timeout_ms if extend else 0
    return milliseconds / 1000 if milliseconds > 0 else None


def outputs_get(context: int, count: int, outputs: _Pointer[rknn_output], extend: _Pointer[rknn_output_extend]) -> None:
    """rknn_outputs_get: the last run's outputs in the graph's order of elements, ``size`` set to what they take.

    With ``want_float`` as float32, else in the tensor's own type. RKNN_ERR_OUTPUT_INVALID before a run, for an index
    that does not exist, and for a buffer that is too small; then no output is given.
    """
    found = handles.find(context, Context)
    require(count and outputs, rknn_error.RKNN_ERR_PARAM_INVALID, "there are no outputs")
    found.finish(None)
    contents = [_output(found, outputs[position]) for position in range(count)]
    for position, content in enumerate(contents):
        _give(found, outputs[position], content)
    if extend:
        extend.contents.frame_id = found.frame


def _output(context: Context, wanted: rknn_output) -> Bytes:
    if context.outputs is None:
        raise RknnError(rknn_error.RKNN_ERR_OUTPUT_INVALID, "there are no outputs: the context has not been run")
    if wanted.index >= len(context.outputs):
        raise RknnError(rknn_error.RKNN_ERR_OUTPUT_INVALID, f"there is no output {wanted.index}")
    tensor = context.model.outputs[wanted.index]
    form = Form(FLOAT32 if wanted.want_float else tensor.type, layouts.NCHW)
    content = give_out(context.outputs[tensor.index], tensor, form)
    if wanted.is_prealloc and (wanted.size < content.size or (content.size and not wanted.buf)):
        raise RknnError(
            rknn_error.RKNN_ERR_OUTPUT_INVALID,
            f"output {tensor.index} ({tensor.name}) has {content.size} bytes, its buffer {wanted.size}",
        )
    return content


def _give(context: Context, wanted: rknn_output, content: Bytes) -> None:
    if wanted.is_prealloc:
        view(wanted.buf, content.size)[:] = content
    else:
        # At least a byte, so that two empty buffers have two addresses.
        lent = np.empty(max(content.size, 1), np.uint8)
        lent[: content.size] = content
        wanted.buf = lent.ctypes.data
        context.lent[lent.ctypes.data] = lent
    wanted.size = content.size


def outputs_release(context: int, count: int, outputs: _Pointer[rknn_output]) -> None:
    """rknn_outputs_release: free what rknn_outputs_get made. RKNN_ERR_OUTPUT_INVALID for a buffer that it did not."""
    found = handles.find(context, Context)
    require(count and outputs, rknn_error.RKNN_ERR_PARAM_INVALID, "there are no outputs")
    for position in range(count):
        output = outputs[position]
        if output.is_prealloc or not output.buf:
            continue
        if found.lent.pop(output.buf, None) is None:
            raise RknnError(rknn_error.RKNN_ERR_OUTPUT_INVALID, f"the buffer of output {output.index} is not held")

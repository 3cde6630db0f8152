"""rknn_query, one function for each command."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TypeVar

from rkllmd.abi.c_types import Struct
from rkllmd.abi.layouts.rknn import (
    rknn_custom_string,
    rknn_input_output_num,
    rknn_input_range,
    rknn_mem_size,
    rknn_perf_detail,
    rknn_perf_run,
    rknn_sdk_version,
    rknn_tensor_attr,
)
from rkllmd.abi.layouts.rknn_constants import rknn_error, rknn_query_cmd
from rkllmd.portable.rknn import handles
from rkllmd.portable.rknn.errors import RknnError, require
from rkllmd.portable.rknn.models import sizes
from rkllmd.portable.rknn.models.context import Context
from rkllmd.portable.rknn.models.profile import table
from rkllmd.portable.rknn.models.session import engine
from rkllmd.portable.rknn.tensors import layouts
from rkllmd.portable.rknn.tensors.layouts import Shape
from rkllmd.portable.rknn.tensors.tensors import Tensor, describe
from rkllmd.portable.rknn.version import VERSION

_StructT = TypeVar("_StructT", bound=Struct)


def query(context: int, command: int, info: int | None, size: int) -> None:
    """rknn_query. RKNN_ERR_PARAM_INVALID for an unknown command, a wrong size, and an index that does not exist."""
    found = handles.find(context, Context)
    entry = _COMMANDS.get(command)
    if entry is None:
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"the command {command} is not supported")
    struct, answer = entry
    if not info or size != ctypes.sizeof(struct):
        raise RknnError(
            rknn_error.RKNN_ERR_PARAM_INVALID,
            f"the command {command} takes {struct.__name__}, {ctypes.sizeof(struct)} bytes, not {size if info else 0}",
        )
    answer(found, info)


def _in_out_num(context: Context, info: rknn_input_output_num) -> None:
    info.n_input, info.n_output = len(context.model.inputs), len(context.model.outputs)


def _at(tensors: list[Tensor], index: int) -> Tensor:
    if index >= len(tensors):
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"there is no tensor {index}, only {len(tensors)}")
    return tensors[index]


def _attr(layout: int | None, *, is_input: bool, is_current: bool) -> Callable[[Context, rknn_tensor_attr], None]:
    """Return the answer to one of the attr commands; ``layout`` NC1HWC2 counts for tensors that have it."""

    def answer(context: Context, info: rknn_tensor_attr) -> None:
        tensor = _at(context.model.inputs if is_input else context.model.outputs, info.index)
        shape = _shapes(context, is_input=is_input, is_current=is_current)[tensor.index]
        shown = layout
        if shown is None or (shown == layouts.NC1HWC2 and tensor.native_layout(shape) is None):
            shown = layouts.NHWC if is_input else layouts.NCHW
        describe(info, tensor, shape, shown)

    return answer


def _shapes(context: Context, *, is_input: bool, is_current: bool) -> list[Shape]:
    if is_input:
        return context.shapes if is_current else context.model.first_shapes()
    return context.output_shapes() if is_current else context.first_output_shapes()


def _perf_detail(context: Context, info: rknn_perf_detail) -> None:
    if not context.model.is_profiled:
        # Nothing was measured without RKNN_FLAG_COLLECT_PERF_MASK; the vendor's runtime answers an empty text then.
        context.layer_table = ctypes.create_string_buffer(b"")
        info.perf_data = ctypes.cast(context.layer_table, ctypes.c_char_p)
        info.data_len = 0
        return
    _check_has_run(context)
    # ONNX Runtime gives each measurement only once; a second query after the same run is answered with the same table.
    layers = context.model.session.layers()
    if layers or context.layer_table is None:
        context.layer_table = ctypes.create_string_buffer(table(layers).encode())
    info.perf_data = ctypes.cast(context.layer_table, ctypes.c_char_p)
    info.data_len = len(context.layer_table) - 1


def _perf_run(context: Context, info: rknn_perf_run) -> None:
    _check_has_run(context)
    info.run_duration = context.duration


def _check_has_run(context: Context) -> None:
    context.finish(None)
    require(context.outputs is not None, rknn_error.RKNN_ERR_FAIL, "the context has not been run")


def _sdk_version(_context: Context, info: rknn_sdk_version) -> None:
    info.api_version = f"{VERSION} (portable@onnxruntime-{engine().__version__})".encode()
    info.drv_version = b"0.0.0 (no NPU)"


def _mem_size(context: Context, info: rknn_mem_size) -> None:
    ctypes.memset(ctypes.byref(info), 0, ctypes.sizeof(info))
    info.total_weight_size = context.model.weight_size
    info.total_internal_size = sizes.internal(context)


def _custom_string(context: Context, info: rknn_custom_string) -> None:
    longest = ctypes.sizeof(info) - 1
    info.string = context.model.custom_string.encode()[:longest].decode("utf-8", "ignore").encode()


def _input_dynamic_range(context: Context, info: rknn_input_range) -> None:
    tensor = _at(context.model.inputs, info.index)
    require(not context.model.is_static, rknn_error.RKNN_ERR_MODEL_INVALID, "the model is static: it has one shape")
    sets = context.model.input_sets or [context.model.first_shapes()]
    ctypes.memset(ctypes.byref(info), 0, ctypes.sizeof(info))
    info.index = tensor.index
    info.name = tensor.c_name
    info.shape_number = len(sets)
    info.n_dims = len(tensor.dims)
    info.fmt = layouts.NHWC if len(tensor.dims) == 4 else layouts.UNDEFINED
    for number, group in enumerate(sets):
        stored = layouts.stored_shape(group[tensor.index], layouts.NHWC, tensor.type)
        info.dyn_range[number][: len(stored)] = stored


_Command = tuple[type[Struct], Callable[[Context, int], None]]


def _answers(struct: type[_StructT], answer: Callable[[Context, _StructT], None]) -> _Command:
    """Return a command: the struct that it fills, and what answers it at the struct's address."""
    return struct, lambda context, address: answer(context, struct.from_address(address))


def _input_attr(layout: int | None, *, is_current: bool = False) -> _Command:
    return _answers(rknn_tensor_attr, _attr(layout, is_input=True, is_current=is_current))


def _output_attr(layout: int | None, *, is_current: bool = False) -> _Command:
    return _answers(rknn_tensor_attr, _attr(layout, is_input=False, is_current=is_current))


_NATIVE = layouts.NC1HWC2
_COMMANDS: dict[int, _Command] = {
    rknn_query_cmd.RKNN_QUERY_IN_OUT_NUM: _answers(rknn_input_output_num, _in_out_num),
    rknn_query_cmd.RKNN_QUERY_INPUT_ATTR: _input_attr(None),
    rknn_query_cmd.RKNN_QUERY_OUTPUT_ATTR: _output_attr(None),
    rknn_query_cmd.RKNN_QUERY_PERF_DETAIL: _answers(rknn_perf_detail, _perf_detail),
    rknn_query_cmd.RKNN_QUERY_PERF_RUN: _answers(rknn_perf_run, _perf_run),
    rknn_query_cmd.RKNN_QUERY_SDK_VERSION: _answers(rknn_sdk_version, _sdk_version),
    rknn_query_cmd.RKNN_QUERY_MEM_SIZE: _answers(rknn_mem_size, _mem_size),
    rknn_query_cmd.RKNN_QUERY_CUSTOM_STRING: _answers(rknn_custom_string, _custom_string),
    rknn_query_cmd.RKNN_QUERY_NATIVE_INPUT_ATTR: _input_attr(_NATIVE),
    rknn_query_cmd.RKNN_QUERY_NATIVE_OUTPUT_ATTR: _output_attr(_NATIVE),
    rknn_query_cmd.RKNN_QUERY_NATIVE_NHWC_INPUT_ATTR: _input_attr(layouts.NHWC),
    rknn_query_cmd.RKNN_QUERY_NATIVE_NHWC_OUTPUT_ATTR: _output_attr(layouts.NHWC),
    rknn_query_cmd.RKNN_QUERY_INPUT_DYNAMIC_RANGE: _answers(rknn_input_range, _input_dynamic_range),
    rknn_query_cmd.RKNN_QUERY_CURRENT_INPUT_ATTR: _input_attr(None, is_current=True),
    rknn_query_cmd.RKNN_QUERY_CURRENT_OUTPUT_ATTR: _output_attr(None, is_current=True),
    rknn_query_cmd.RKNN_QUERY_CURRENT_NATIVE_INPUT_ATTR: _input_attr(_NATIVE, is_current=True),
    rknn_query_cmd.RKNN_QUERY_CURRENT_NATIVE_OUTPUT_ATTR: _output_attr(_NATIVE, is_current=True),
}

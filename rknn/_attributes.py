"""The attributes of a context's tensors: asked of the runtime on the worker thread, and kept for later questions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from rkllmd.abi.c import Struct, byref, c_void_p, cast, sizeof
from rkllmd.abi.json.convert import to_c
from rkllmd.abi.json.rknn_structs import describe
from rkllmd.abi.json.structs import fields_of
from rkllmd.abi.json.tensors import byte_size
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
from rkllmd.abi.layouts.rknn_constants import RKNN_MAX_DIMS, rknn_query_cmd, rknn_tensor_format
from rkllmd.errors import InvalidParams, NotSupported, RuntimeFailure
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context, TensorMemory
from rkllmd.vision.runtime import RknnRuntime
from rknn._common import dtype_of
from rknn._memories import check_size

Q = rknn_query_cmd
INPUT_COMMANDS: Final = frozenset(
    {Q.RKNN_QUERY_INPUT_ATTR, Q.RKNN_QUERY_NATIVE_INPUT_ATTR, Q.RKNN_QUERY_NATIVE_NHWC_INPUT_ATTR}
    | {Q.RKNN_QUERY_CURRENT_INPUT_ATTR, Q.RKNN_QUERY_CURRENT_NATIVE_INPUT_ATTR, Q.RKNN_QUERY_INPUT_DYNAMIC_RANGE}
)
OUTPUT_COMMANDS: Final = frozenset(
    {Q.RKNN_QUERY_OUTPUT_ATTR, Q.RKNN_QUERY_NATIVE_OUTPUT_ATTR, Q.RKNN_QUERY_NATIVE_NHWC_OUTPUT_ATTR}
    | {Q.RKNN_QUERY_CURRENT_OUTPUT_ATTR, Q.RKNN_QUERY_CURRENT_NATIVE_OUTPUT_ATTR}
)
_STRUCTS: Final[dict[rknn_query_cmd, type[Struct]]] = {
    Q.RKNN_QUERY_IN_OUT_NUM: rknn_input_output_num,
    Q.RKNN_QUERY_PERF_DETAIL: rknn_perf_detail,
    Q.RKNN_QUERY_PERF_RUN: rknn_perf_run,
    Q.RKNN_QUERY_SDK_VERSION: rknn_sdk_version,
    Q.RKNN_QUERY_MEM_SIZE: rknn_mem_size,
    Q.RKNN_QUERY_CUSTOM_STRING: rknn_custom_string,
    Q.RKNN_QUERY_INPUT_DYNAMIC_RANGE: rknn_input_range,
    **dict.fromkeys((INPUT_COMMANDS | OUTPUT_COMMANDS) - {Q.RKNN_QUERY_INPUT_DYNAMIC_RANGE}, rknn_tensor_attr),
}
# The fields of an attribute that a client may set: for a shape, all that follow from it; for a memory, its layout.
SHAPE_FIELDS: Final = frozenset({"dims", "n_dims", "n_elems", "size", "size_with_stride", "w_stride", "fmt", "type"})
MEMORY_FIELDS: Final = frozenset({"type", "fmt", "pass_through", "h_stride"})
# More than this would mean that we misread the struct.
_MOST_TENSORS: Final = 1024
# Asked when a model is loaded, so that rknn.query can answer at any time. The other commands make the runtime print
# errors where they do not apply (a model without dynamic shapes, a context without RKNN_FLAG_COLLECT_PERF_MASK), or
# their answers change with each run.
_LEARNED: Final = (Q.RKNN_QUERY_SDK_VERSION, Q.RKNN_QUERY_MEM_SIZE, Q.RKNN_QUERY_CUSTOM_STRING)
_LEARNED_OF_INPUTS: Final = (Q.RKNN_QUERY_NATIVE_INPUT_ATTR, Q.RKNN_QUERY_NATIVE_NHWC_INPUT_ATTR)
_LEARNED_OF_OUTPUTS: Final = (Q.RKNN_QUERY_NATIVE_OUTPUT_ATTR, Q.RKNN_QUERY_NATIVE_NHWC_OUTPUT_ATTR)


def learn(rknn: RknnRuntime, ctx: Context) -> None:
    """Ask for the tensors of a new context. Raises RuntimeFailure if an answer is missing that is always needed."""
    number = ask(rknn, ctx, Q.RKNN_QUERY_IN_OUT_NUM)
    if max(number.n_input, number.n_output) > _MOST_TENSORS:
        raise RuntimeFailure(
            f"rknn_query names {number.n_input} inputs and {number.n_output} outputs: its structs must be laid out "
            "differently from those that are known.",
            function="rknn_query",
            status=0,
            log=[],
        )
    ctx.answers[Q.RKNN_QUERY_IN_OUT_NUM, 0] = number
    ctx.inputs = [_ask_attr(rknn, ctx, Q.RKNN_QUERY_INPUT_ATTR, index) for index in range(number.n_input)]
    ctx.outputs = [_ask_attr(rknn, ctx, Q.RKNN_QUERY_OUTPUT_ATTR, index) for index in range(number.n_output)]
    for attrs, given, current in (
        (ctx.inputs, Q.RKNN_QUERY_INPUT_ATTR, Q.RKNN_QUERY_CURRENT_INPUT_ATTR),
        (ctx.outputs, Q.RKNN_QUERY_OUTPUT_ATTR, Q.RKNN_QUERY_CURRENT_OUTPUT_ATTR),
    ):
        for index, attr in enumerate(attrs):
            ctx.answers[given, index] = ctx.answers[current, index] = attr
    for command in _LEARNED:
        _try(rknn, ctx, command, 0)
    for index in range(number.n_input):
        for command in _LEARNED_OF_INPUTS:
            _try(rknn, ctx, command, index)
    for index in range(number.n_output):
        for command in _LEARNED_OF_OUTPUTS:
            _try(rknn, ctx, command, index)


def learn_current(rknn: RknnRuntime, ctx: Context) -> None:
    """Ask again after the shapes of a context's inputs were set. Raises RuntimeFailure."""
    ctx.inputs = [_ask_attr(rknn, ctx, Q.RKNN_QUERY_CURRENT_INPUT_ATTR, index) for index in range(len(ctx.inputs))]
    ctx.outputs = [_ask_attr(rknn, ctx, Q.RKNN_QUERY_CURRENT_OUTPUT_ATTR, index) for index in range(len(ctx.outputs))]
    for index, attr in enumerate(ctx.inputs):
        ctx.answers[Q.RKNN_QUERY_CURRENT_INPUT_ATTR, index] = attr
    for index, attr in enumerate(ctx.outputs):
        ctx.answers[Q.RKNN_QUERY_CURRENT_OUTPUT_ATTR, index] = attr
    for count, command in (
        (len(ctx.inputs), Q.RKNN_QUERY_CURRENT_NATIVE_INPUT_ATTR),
        (len(ctx.outputs), Q.RKNN_QUERY_CURRENT_NATIVE_OUTPUT_ATTR),
    ):
        for index in range(count):
            ctx.answers.pop((command, index), None)  # of the shape before
            _try(rknn, ctx, command, index)


def learn_run(rknn: RknnRuntime, ctx: Context) -> None:
    """Ask for the shapes of the outputs after a run has ended, if they may differ from those before.

    That is one question for each output, 35 µs. Raises RuntimeFailure.
    """
    if not rknn.shapes_follow_values or ctx.shapes_of_run == ctx.run_count:
        return
    ctx.shapes_of_run = ctx.run_count
    for index, before in enumerate(ctx.outputs):
        attr = _ask_attr(rknn, ctx, Q.RKNN_QUERY_CURRENT_OUTPUT_ATTR, index)
        if shape_of(attr) == shape_of(before):
            continue
        ctx.outputs[index] = ctx.answers[Q.RKNN_QUERY_CURRENT_OUTPUT_ATTR, index] = attr
        ctx.answers.pop((Q.RKNN_QUERY_CURRENT_NATIVE_OUTPUT_ATTR, index), None)  # of the shape before
        _try(rknn, ctx, Q.RKNN_QUERY_CURRENT_NATIVE_OUTPUT_ATTR, index)


def ask(rknn: RknnRuntime, ctx: Context, command: rknn_query_cmd, index: int = 0) -> Struct:
    """Return the runtime's answer as its C struct. Raises RuntimeFailure, NotSupported."""
    struct_type = _STRUCTS.get(command)
    if struct_type is None:
        raise NotSupported(
            f"rknn_api.h names no struct for the answer to {command.name}.",
            runtime=rknn.library.runtime,
            needs="another command",
        )
    # With spare bytes behind it: a runtime whose struct is longer than ours must not write into other memory.
    struct = struct_type.from_buffer(bytearray(sizeof(struct_type) + 1024))
    if "index" in fields_of(struct_type):
        struct.index = index
    rknn.call("rknn_query", ctx.pointer, int(command), cast(byref(struct), c_void_p), sizeof(struct_type))
    return struct


def _ask_attr(rknn: RknnRuntime, ctx: Context, command: rknn_query_cmd, index: int) -> rknn_tensor_attr:
    attr = ask(rknn, ctx, command, index)
    assert isinstance(attr, rknn_tensor_attr)
    return attr


def _try(rknn: RknnRuntime, ctx: Context, command: rknn_query_cmd, index: int) -> None:
    try:
        ctx.answers[command, index] = ask(rknn, ctx, command, index)
    except RuntimeFailure:
        return  # when a client asks, the runtime is asked again and its error is the answer


def attr_of(
    ctx: Context, json: JsonObject, path: str, settable: frozenset[str], *, output: bool | None = None
) -> rknn_tensor_attr:
    """Return a tensor's attributes, changed by those fields of ``json`` that are ``settable``.

    ``json`` names the tensor by ``name``, or by ``index`` among the inputs, or among the outputs if ``output``. Its
    other fields must have the values that rknn.query answers: C sizes its buffers by them. Raises InvalidParams.
    """
    known = _known(ctx, json, path, output)
    changes = {name: value for name, value in json.items() if name in settable}
    attr = to_c(changes, rknn_tensor_attr, path, [], defaults={"rknn_tensor_attr": known})
    check_unchanged(known, json, path, settable | {"name", "index"})
    return attr


def check_unchanged(struct: Struct, json: JsonObject, path: str, settable: Collection[str]) -> None:
    """Refuse fields of ``json`` that differ from the struct's, unless they are ``settable``. Raises InvalidParams."""
    described = describe(struct)
    for name, value in json.items():
        if name in settable:
            continue
        same = described.get(name)
        number = getattr(struct, name) if name in struct._enums_ else same
        if value not in (same, number):
            raise InvalidParams(f"{path}.{name} can't be changed.", path=f"{path}.{name}", keyword="const", limit=same)


def as_now(ctx: Context, attr: rknn_tensor_attr, *, output: bool) -> rknn_tensor_attr:
    """Return the attributes that a bound tensor has now, with the shapes that are currently set."""
    return native(ctx, (ctx.outputs if output else ctx.inputs)[attr.index], {"fmt": attr.fmt})


def is_output(ctx: Context, attr: rknn_tensor_attr) -> bool:
    """Return whether these are the attributes of an output."""
    return any(attr.name == item.name for item in ctx.outputs) and not any(
        attr.name == item.name for item in ctx.inputs
    )


def _known(ctx: Context, json: JsonObject, path: str, output: bool | None) -> rknn_tensor_attr:
    if "name" in json:
        named = [
            attr
            for attrs, wanted in ((ctx.inputs, output is not True), (ctx.outputs, output is not False))
            for attr in attrs
            if wanted and attr.name.decode("utf-8", "replace") == json["name"]
        ]
        if not named:
            names = [attr.name.decode("utf-8", "replace") for attr in (*ctx.inputs, *ctx.outputs)]
            raise InvalidParams(
                f"{path}.name is not one of the model's tensors.", path=f"{path}.name", limit=names[:64]
            )
        return native(ctx, named[0], json, f"{path}.fmt")
    attrs = ctx.outputs if output else ctx.inputs
    index = int(json.get("index", 0))
    check_index(index, len(attrs), "outputs" if output else "inputs", f"{path}.index")
    return native(ctx, attrs[index], json, f"{path}.fmt")


def native(ctx: Context, attr: rknn_tensor_attr, json: JsonObject, path: str = "$") -> rknn_tensor_attr:
    """Return the native attributes if ``json`` asks for the native layout by its fmt, whose path is ``path``.

    Otherwise return ``attr``. Raises InvalidParams.
    """
    if json.get("fmt") not in ("RKNN_TENSOR_NC1HWC2", int(rknn_tensor_format.RKNN_TENSOR_NC1HWC2)):
        return attr
    if any(attr is item for item in ctx.inputs):
        now, first = Q.RKNN_QUERY_CURRENT_NATIVE_INPUT_ATTR, Q.RKNN_QUERY_NATIVE_INPUT_ATTR
    else:
        now, first = Q.RKNN_QUERY_CURRENT_NATIVE_OUTPUT_ATTR, Q.RKNN_QUERY_NATIVE_OUTPUT_ATTR
    # The current layout is only known after shapes were set.
    found = ctx.answers.get((now, attr.index)) or ctx.answers.get((first, attr.index))
    if not isinstance(found, rknn_tensor_attr):
        raise InvalidParams(
            "The runtime does not say this tensor's native layout.", path=path, keyword="enum", limit=attr.fmt
        )
    return found


def check_index(index: int, count: int, what: str, path: str) -> None:
    """Refuse a tensor that the model does not have. Raises InvalidParams."""
    if not 0 <= index < count:
        raise InvalidParams(f"{path}: the model has {count} {what}.", path=path, keyword="maximum", limit=count - 1)


def bytes_needed(attr: rknn_tensor_attr, known: rknn_tensor_attr) -> int:
    """Return how many bytes C may touch for a tensor laid out as ``attr`` says; ``known``: the model's own attributes.

    Raises InvalidParams for an h_stride of a tensor without a height.
    """
    size: int = max(known.size, known.size_with_stride)
    wanted = byte_size(known.n_elems, dtype_of(attr.type))
    # The layout decides how many elements are padding, whatever their type.
    needed = max(size, -(-wanted * size // known.size) if known.size else wanted)
    if attr.h_stride:
        height = _height(known)
        if not height:
            raise InvalidParams(
                "h_stride is for tensors with a height.", path="$.attr.h_stride", keyword="maximum", limit=0
            )
        needed = -(-needed * max(int(attr.h_stride), height) // height)
    return needed


def _height(attr: rknn_tensor_attr) -> int:
    dims = shape_of(attr)
    if len(dims) < 4:
        return 0
    return dims[1] if attr.fmt == int(rknn_tensor_format.RKNN_TENSOR_NHWC) else dims[2]


def use_outside(rknn: RknnRuntime, ctx: Context, memory: TensorMemory, function: str, field: str) -> None:
    """Give the runtime a memory in place of one that it would allocate itself. Raises InvalidParams, RuntimeFailure."""
    check_size(memory, getattr(ask(rknn, ctx, Q.RKNN_QUERY_MEM_SIZE), field), "the model")
    rknn.call(function, ctx.pointer, memory.pointer)
    ctx.outside.append(memory)


def shape_of(attr: rknn_tensor_attr) -> list[int]:
    """Return a tensor's dimensions."""
    return list(attr.dims[: min(attr.n_dims, RKNN_MAX_DIMS)])

"""JSON to rknn_input: the bytes, unchanged, and whatever the client left out about them."""

from __future__ import annotations

import contextlib
from typing import Final, NamedTuple

from rkllmd.abi.c import addressof, shared_bytes
from rkllmd.abi.json.tensors import Buffer, Sources, byte_size, read_buffer
from rkllmd.abi.layouts.rknn import rknn_input, rknn_tensor_attr
from rkllmd.abi.layouts.rknn_constants import rknn_tensor_format, rknn_tensor_qnt_type, rknn_tensor_type
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject
from rkllmd.vision.objects import Context
from rkllmd.vision.runtime import RknnRuntime
from rknn._attributes import check_index, native, shape_of
from rknn._common import dtype_of, member_of, type_of
from rknn._dynamic import other_shapes

# Inputs of these types accept a picture's bytes as uint8, as every converted model for pictures does.
_TAKE_PICTURES: Final = ("int8", "uint8", "float16", "float32")


class WrongSizeError(InvalidParams):
    """The data of an input does not have the size of its shape; another shape may be set."""

    def __init__(self, message: str, index: int, **data: Json) -> None:
        """``index`` is that of the input."""
        super().__init__(message, **data)
        self.index = index


class Item(NamedTuple):
    """One rknn_input object, its path in the client's JSON, and the path of its data."""

    json: JsonObject
    path: str
    buf_path: str


def data_path(json: JsonObject, path: str) -> str:
    """Return the path of an rknn_input's data in the client's JSON, where it may be called buf or data."""
    return f"{path}.data" if "data" in json and "buf" not in json else f"{path}.buf"


def set_inputs(rknn: RknnRuntime, ctx: Context, items: list[Item], path: str, sources: Sources) -> None:
    """Give the runtime all inputs at once, on the worker thread; it copies them. Raises InvalidParams, RuntimeFailure.

    If ``type`` is left out, the tensor says it, or it follows from the size: uint8 for one byte per element (a
    picture), else the input's own type or float32. JSON numbers become the input's own type if that is an integer type
    and not quantised. If ``fmt`` is left out, it is the input's own.
    """
    if len(items) > len(ctx.inputs):
        limit = len(ctx.inputs)
        raise InvalidParams(f"{path}: the model has {limit} inputs.", path=path, keyword="maxItems", limit=limit)
    inputs = (rknn_input * len(items))()
    keep: list[object] = []
    for position, item in enumerate(items):
        try:
            _fill(inputs[position], ctx, item, position, sources, keep)
        except WrongSizeError as error:
            raise InvalidParams(error.message + other_shapes(rknn, ctx, error.index), **error.data) from None
    if len({item.index for item in inputs}) != len(items):
        raise InvalidParams(f"{path} gives an input twice.", path=path, keyword="uniqueItems")
    rknn.call("rknn_inputs_set", ctx.pointer, len(items), inputs)


def _fill(
    target: rknn_input,
    ctx: Context,
    item: Item,
    position: int,
    sources: Sources,
    keep: list[object],
) -> None:
    json, path, buf_path = item
    index = int(json.get("index", position))
    check_index(index, len(ctx.inputs), "inputs", f"{path}.index")
    attr = ctx.inputs[index]
    if "buf" in json and "data" in json:
        raise InvalidParams(f"{path} has both buf and data: give one of them.", path=f"{path}.data", keyword="oneOf")
    value = json.get("buf", json.get("data"))
    if value is None:
        raise InvalidParams(f"{buf_path} is required.", path=buf_path, keyword="required", limit=["buf"])
    given = dtype_of(member_of(rknn_tensor_type, json["type"])) if "type" in json else None
    target.index = index
    target.pass_through = bool(json.get("pass_through", False))
    own = dtype_of(attr.type)
    buffer = read_buffer(
        value, given or _number_dtype(attr, own, bool(target.pass_through)), buf_path, sources, holds=_narrow(attr, own)
    )
    target.fmt = member_of(rknn_tensor_format, json["fmt"]) if "fmt" in json else attr.fmt
    if target.pass_through:
        _check_native(ctx, attr, buffer, buf_path)
        target.type = type_of(given) if given else attr.type
    else:
        target.type = type_of(_dtype(attr, buffer, given, item))
        has_shape = isinstance(value, dict) and value.get("shape") is not None
        _check_shape(attr, buffer, target.fmt, f"{buf_path}.shape" if has_shape else buf_path)
    if json.get("size", buffer.size) != buffer.size:
        raise InvalidParams(
            f"{path}.size is not the size of the data.", path=f"{path}.size", keyword="const", limit=buffer.size
        )
    memory = shared_bytes(buffer.data, buffer.size)
    keep.append(memory)
    target.buf = addressof(memory)
    target.size = buffer.size


def _number_dtype(attr: rknn_tensor_attr, own: str, pass_through: bool) -> str:
    """Return what JSON numbers become: float32 for real numbers, which the runtime quantises, else the exact type."""
    is_real = "float" in own or attr.qnt_type != rknn_tensor_qnt_type.RKNN_TENSOR_QNT_NONE
    return "float32" if is_real and not pass_through else own


def _narrow(attr: rknn_tensor_attr, own: str) -> str | None:
    """Return the input's type if the runtime converts float32 to it and its range is smaller."""
    is_quantised = attr.qnt_type != rknn_tensor_qnt_type.RKNN_TENSOR_QNT_NONE
    return own if own in ("float16", "bfloat16") and not is_quantised else None


def _dtype(attr: rknn_tensor_attr, buffer: Buffer, given: str | None, item: Item) -> str:
    """Return the element type that fits the buffer's size. Raises InvalidParams."""
    own = dtype_of(attr.type)
    if given and buffer.dtype and given != buffer.dtype:
        path = f"{item.path}.type"
        raise InvalidParams(f"{item.path}: type and dtype differ.", path=path, keyword="const", limit=buffer.dtype)
    certain = given or buffer.dtype
    guesses = ["uint8"] if own in _TAKE_PICTURES else []
    candidates = [certain] if certain else [*guesses, own, "float32"]
    for dtype in candidates:
        if byte_size(attr.n_elems, dtype) == buffer.size:
            return dtype
    sizes = {dtype: byte_size(attr.n_elems, dtype) for dtype in candidates}
    wanted = " or ".join(f"{size} bytes of {dtype}" for dtype, size in sizes.items())
    raise WrongSizeError(
        f"{item.buf_path} has {buffer.size} bytes; input {attr.index} has {attr.n_elems} elements: {wanted}.",
        attr.index,
        path=item.buf_path,
        keyword="shape",
        limit=sizes,
    )


def _check_shape(attr: rknn_tensor_attr, buffer: Buffer, fmt: int, path: str) -> None:
    """Refuse a shape whose order is not that of the format: the bytes would be read as another picture.

    The number of elements fits already; rows may be grouped differently, or not at all. Raises InvalidParams.
    """
    dims = shape_of(attr)
    nhwc, nchw = int(rknn_tensor_format.RKNN_TENSOR_NHWC), int(rknn_tensor_format.RKNN_TENSOR_NCHW)
    if len(dims) == 4 and (attr.fmt, fmt) == (nhwc, nchw):
        dims = [dims[0], dims[3], dims[1], dims[2]]
    elif len(dims) == 4 and (attr.fmt, fmt) == (nchw, nhwc):
        dims = [dims[0], dims[2], dims[3], dims[1]]
    given, wanted = ([size for size in shape if size != 1] for shape in (buffer.shape or (), dims))
    if given != wanted and sorted(given) == sorted(wanted):  # the same lengths in another order
        name = rknn_tensor_format(fmt).name
        raise InvalidParams(
            f"{path.removesuffix('.shape')} has the shape {list(buffer.shape or ())}, input {attr.index} is {dims} in "
            f"{name}: reorder it, or say which fmt it has.",
            path=path,
            keyword="shape",
            limit=dims,
        )


def _check_native(ctx: Context, attr: rknn_tensor_attr, buffer: Buffer, path: str) -> None:
    """Refuse a pass_through whose size is not the input's in any of its layouts. Raises InvalidParams."""
    sizes = {attr.size, attr.size_with_stride} - {0}
    with contextlib.suppress(InvalidParams):  # without a native layout, the plain one is the only one
        found = native(ctx, attr, {"fmt": int(rknn_tensor_format.RKNN_TENSOR_NC1HWC2)})
        sizes |= {found.size, found.size_with_stride} - {0}
    if buffer.size not in sizes:
        raise InvalidParams(
            f"{path} has {buffer.size} bytes; passed through, input {attr.index} needs {min(sizes)}.",
            path=path,
            keyword="shape",
            limit=sorted(sizes),
        )

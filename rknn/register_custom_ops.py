"""rknn_register_custom_ops: load operators of your own into a context.

C: int rknn_register_custom_ops(rknn_context ctx, rknn_custom_op *op, uint32_t custom_op_num)

An operator consists of functions, which can't cross a socket. So ``op`` is the path of a shared library that exports
get_rknn_custom_op (the vendor's get_custom_op_func, as in librkcst_*.so), or an array of such paths. Its code runs
inside the daemon: only libraries in the configuration's operator_directories are loaded, by default none.
"""

from __future__ import annotations

import os

import structlog

from rkllmd import open_files
from rkllmd.abi.c import CDLL, CFunction, Pointer, byref, cast, memmove, sizeof, string_at
from rkllmd.abi.json.tensors import byte_size, to_numbers
from rkllmd.abi.layouts.rknn_constants import rknn_tensor_type
from rkllmd.abi.layouts.rknn_custom_op import (
    CustomOpCallback,
    get_custom_op_func,
    rknn_custom_op,
    rknn_custom_op_attr,
    rknn_custom_op_context,
)
from rkllmd.calls import authority
from rkllmd.calls.declaration import Count, Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.errors import InvalidParams, PermissionDenied
from rkllmd.json_types import JsonObject
from rkllmd.machine import paths
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rknn._common import CTX, dtype_of

log = structlog.get_logger()

_NAMES = {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 255}, "maxItems": 64}
_MOST_ELEMENTS = 1 << 20
_SYMBOL = "get_rknn_custom_op"


def _check(
    vision: Vision, invocation: Invocation, ctx: Context, op: str | list[str], attr_names: list[str] | None = None
) -> None:
    if vision.runtime.name == "portable":
        raise vision.runtime.not_supported("A custom operator", needs="the vendor's runtime (librknnrt.so)")
    for path, where in _given(op):
        _file(vision, invocation, path, where)


@method(
    Kind.ORDERED,
    [
        CTX,
        Value(
            "op",
            {
                "type": ["string", "array"],
                "items": {"type": "string"},
                "minItems": 1,
                "maxItems": 64,
                "description": "Paths of libraries that export get_rknn_custom_op.",
            },
        ),
        Count("custom_op_num", of="op"),
        Value("attr_names", _NAMES, required=False, in_c=False),
    ],
    check=_check,
    alters="ctx",
)
def register_custom_ops(
    vision: Vision, invocation: Invocation, ctx: Context, op: str | list[str], attr_names: list[str] | None = None
) -> JsonObject:
    """Register the operators; rknn.custom_op_get_op_attr can then return the attributes named in attr_names."""
    loaded = [_load(_file(vision, invocation, path, where), where) for path, where in _given(op)]
    ops = (rknn_custom_op * len(loaded))()
    keep: list[object] = [ops]
    for target, (library, source) in zip(ops, loaded, strict=True):
        memmove(byref(target), source, sizeof(rknn_custom_op))
        keep.append(library)
        _read_attributes(vision, ctx, target, attr_names or [], keep)
    vision.runtime.call("rknn_register_custom_ops", ctx.pointer, ops, len(ops))
    ctx.keep_alive.append(keep)
    return success(op_types=[item.op_type.decode("utf-8", "replace") for item in ops])


def _given(op: str | list[str]) -> list[tuple[str, str]]:
    return [(op, "$.op")] if isinstance(op, str) else [(path, f"$.op[{index}]") for index, path in enumerate(op)]


def _file(vision: Vision, invocation: Invocation, path: str, where: str) -> str:
    directories, viewer = vision.config.operator_directories, authority.viewer(invocation.client, vision.config)
    if not directories:
        raise PermissionDenied(
            "No libraries of operators may be loaded here: the setting operator_directories is empty.",
            setting="operator_directories",
        )
    return str(paths.readable_file(path, directories, where, setting="operator_directories", viewer=viewer))


def _load(path: str, where: str) -> tuple[CDLL, Pointer[rknn_custom_op]]:
    """Return the library and its operator, which belongs to the library. Raises InvalidParams."""
    try:
        library = CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL)
        operator = get_custom_op_func((_SYMBOL, library))()
    except (OSError, AttributeError) as error:
        open_files.raise_shortage(error)
        raise InvalidParams(f"{where} is not a library of operators: {error}.", path=where, keyword="format") from None
    if not operator:
        raise InvalidParams(f"{where}: {_SYMBOL} returned NULL.", path=where, keyword="format")
    return library, operator


def _read_attributes(
    vision: Vision, ctx: Context, operator: rknn_custom_op, names: list[str], keep: list[object]
) -> None:
    """Read attributes in the operator's init callback, since rknn_custom_op_get_op_attr works only in callbacks."""
    if not names:
        return
    # Copied by cast: ctypes returns a view of the field, and the field is about to change.
    original: CFunction | None = cast(operator.init, CustomOpCallback) if operator.init else None
    op_type = operator.op_type.decode("utf-8", "replace")

    def init(op_ctx: Pointer[rknn_custom_op_context], *tensors: object) -> int:
        try:
            found = {name: _attribute(vision, op_ctx, name) for name in names}
            ctx.operator_nodes.append((op_type, found))
            return 0 if original is None else original(op_ctx, *tensors)
        except BaseException as error:  # nothing may reach C
            log.error("operator_init_failed", exc_info=error)
            return -1

    callback = CustomOpCallback(init)
    keep.append((callback, original))
    operator.init = callback


def _attribute(vision: Vision, op_ctx: Pointer[rknn_custom_op_context], name: str) -> JsonObject:
    attr = rknn_custom_op_attr()
    vision.runtime.raw_call("rknn_custom_op_get_op_attr", op_ctx, name.encode(), byref(attr))
    described: JsonObject = {"name": name, "n_elems": attr.n_elems, "data": None}
    if attr.data and 0 < attr.n_elems <= _MOST_ELEMENTS and attr.dtype in set(rknn_tensor_type):
        dtype = dtype_of(attr.dtype)
        described |= {
            "dtype": dtype,
            "data": to_numbers(string_at(attr.data, byte_size(attr.n_elems, dtype)), dtype),
        }
    return described

"""A caller of the C functions, as terse as tests like it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from rkllmd.abi.layouts.rknn import (
    rknn_init_extend,
    rknn_input,
    rknn_output,
    rknn_run_extend,
    rknn_tensor_attr,
    rknn_tensor_mem,
)
from rkllmd.abi.layouts.rknn_constants import rknn_error, rknn_query_cmd, rknn_tensor_type
from rkllmd.portable.rknn import functions
from rkllmd.portable.rknn.tensors.elements import DTYPES

Array = npt.NDArray[Any]
C: dict[str, Callable[..., Any]] = functions()
OK = rknn_error.RKNN_SUCC
FAIL, TIMEOUT = rknn_error.RKNN_ERR_FAIL, rknn_error.RKNN_ERR_TIMEOUT
PARAM, MODEL, CTX = (
    rknn_error.RKNN_ERR_PARAM_INVALID,
    rknn_error.RKNN_ERR_MODEL_INVALID,
    rknn_error.RKNN_ERR_CTX_INVALID,
)
INPUT, OUTPUT = rknn_error.RKNN_ERR_INPUT_INVALID, rknn_error.RKNN_ERR_OUTPUT_INVALID
TYPE_OF = {dtype: number for number, dtype in DTYPES.items() if number != rknn_tensor_type.RKNN_TENSOR_BFLOAT16}
NCHW, NHWC, NC1HWC2, UNDEFINED = range(4)


def address(array: Array) -> int:
    return array.ctypes.data


def init(model: bytes | str, flags: int = 0, extend: rknn_init_extend | None = None) -> tuple[int, int]:
    """Return rknn_init's code and the context, 0 if there is none."""
    context = ctypes.c_uint64(0)
    content = ctypes.create_string_buffer(model.encode() if isinstance(model, str) else model)
    size = 0 if isinstance(model, str) else len(model)
    code = C["rknn_init"](ctypes.byref(context), ctypes.cast(content, ctypes.c_void_p), size, flags, extend)
    return code, context.value


def load(model: bytes | str, flags: int = 0) -> int:
    code, context = init(model, flags)
    assert code == OK
    return context


def query(context: int, command: int, info: ctypes.Structure) -> int:
    code: int = C["rknn_query"](context, command, ctypes.addressof(info), ctypes.sizeof(info))
    return code


def attr(context: int, command: str, index: int = 0) -> rknn_tensor_attr:
    info = rknn_tensor_attr(index=index)
    assert query(context, rknn_query_cmd[f"RKNN_QUERY_{command}_ATTR"], info) == OK
    return info


def dims(info: rknn_tensor_attr) -> tuple[int, ...]:
    return tuple(info.dims[: info.n_dims])


def set_input(
    context: int, values: Array, fmt: int = NCHW, pass_through: int = 0, index: int = 0, **changes: int
) -> int:
    values = np.ascontiguousarray(values)
    given = rknn_input(index, address(values), values.nbytes, pass_through, TYPE_OF[values.dtype], fmt)
    for name, value in changes.items():
        setattr(given, name, value)
    code: int = C["rknn_inputs_set"](context, 1, ctypes.byref(given))
    return code


def run(context: int, extend: rknn_run_extend | None = None) -> int:
    code: int = C["rknn_run"](context, extend)
    return code


def get(context: int, dtype: Any, index: int = 0, want_float: int = 0) -> Array:
    """Return one output, flat, through a buffer of the runtime's."""
    output = rknn_output(want_float=want_float, index=index)
    assert C["rknn_outputs_get"](context, 1, ctypes.byref(output), None) == OK
    values = np.frombuffer(ctypes.string_at(output.buf, output.size), dtype)
    assert C["rknn_outputs_release"](context, 1, ctypes.byref(output)) == OK
    return values


def memory(context: int, size: int) -> Any:
    made = C["rknn_create_mem"](context, size)
    assert made
    return made


def content(made: Any, dtype: Any = np.uint8) -> Array:
    """Return a memory as a writable array."""
    struct: rknn_tensor_mem = made.contents
    start = struct.virt_addr + struct.offset
    return np.frombuffer((ctypes.c_char * struct.size).from_address(start), dtype)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))

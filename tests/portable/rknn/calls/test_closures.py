"""The table of functions, and what holds for all of them."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
from typing import Any

import pytest

from rkllmd.abi.layouts import rknn, rknn_custom_op, rknn_matmul
from rkllmd.portable import rknn as portable
from rkllmd.portable.build import PortableRuntimeError
from rkllmd.portable.rknn.calls import runs as run_calls
from rkllmd.portable.rknn.calls import table as calls
from tests.portable.rknn.client import CTX, FAIL, OK, PARAM, C, load
from tests.portable.rknn.conftest import Line
from tests.portable.rknn.graphs import floats

SIGNATURES = rknn.SIGNATURES | rknn_matmul.SIGNATURES | rknn_custom_op.SIGNATURES
OF_A_CONTEXT = [
    name
    for name, signature in SIGNATURES.items()
    if next(iter(signature.arguments.values())) is ctypes.c_uint64 and not name.startswith("rknn_create_mem_from_")
]


def test_every_function_is_there_once() -> None:
    assert portable.functions().keys() == SIGNATURES.keys() == calls.CALLS.keys()
    assert portable.functions() is portable.functions()
    assert len(SIGNATURES) == 35


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_function_is_a_c_pointer_of_its_signature(name: str) -> None:
    function: Any = C[name]
    assert list(function.argtypes or type(function)._argtypes_) == SIGNATURES[name].argtypes
    assert function.restype is SIGNATURES[name].restype
    assert ctypes.cast(function, ctypes.c_void_p).value


@pytest.mark.parametrize("name", OF_A_CONTEXT)
def test_no_function_takes_a_context_that_is_not_there(name: str, line: Line) -> None:
    ended = load(floats())
    assert C["rknn_destroy"](ended) == OK
    for context in (0, 1, ended):
        numbers = (ctypes.c_int, ctypes.c_uint32, ctypes.c_uint64)
        rest = [0 if kind in numbers else None for kind in SIGNATURES[name].argtypes[1:]]
        result = C[name](context, *rest)
        assert result == CTX if SIGNATURES[name].restype is ctypes.c_int else not result
        assert f"{name}: there is no context {context:#x}" in line()


def test_what_needs_hardware_fails_with_a_line(line: Line) -> None:
    context = load(floats())
    assert not C["rknn_create_mem_from_phys"](context, 4096, None, 10)
    assert "physical addresses" in line()
    assert not C["rknn_create_mem_from_mb_blk"](context, None, 0)
    assert "media" in line()
    assert C["rknn_register_custom_ops"](context, None, 0) == FAIL
    assert "custom operators need a vendor runtime" in line()
    assert C["rknn_custom_op_get_op_attr"](None, b"name", None) is None
    assert "custom operators need a vendor runtime" in line()
    C["rknn_destroy"](context)


def test_core_masks_and_numbers_are_checked(line: Line) -> None:
    context = load(floats())
    for mask in (0, 1, 2, 4, 3, 7, 0xFFFF):
        assert C["rknn_set_core_mask"](context, mask) == OK
    for mask in (5, 8, 0x10000, -1):
        assert C["rknn_set_core_mask"](context, mask) == PARAM
        line()
    assert C["rknn_set_batch_core_num"](context, 3) == OK
    assert C["rknn_set_batch_core_num"](context, 0) == PARAM
    line()
    C["rknn_destroy"](context)


def test_an_unforeseen_error_becomes_a_code(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> None:
        raise ValueError("a\nsurprise")

    monkeypatch.setitem(calls.CALLS, "rknn_run", broken)
    assert C["rknn_run"](1, None) == FAIL
    assert line() == "E RKNN: rknn_run: ValueError: a surprise\n"
    monkeypatch.setitem(calls.CALLS, "rknn_create_mem", broken)
    assert not C["rknn_create_mem"](1, 1)
    line()
    monkeypatch.setitem(calls.CALLS, "rknn_run", run_calls.run)


def test_importing_is_cheap() -> None:
    code = (
        "import sys; import rkllmd.portable.rknn as r; r.functions(); "
        "assert not {'numpy', 'onnxruntime', 'subprocess'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    portable.functions.cache_clear()
    with pytest.raises(PortableRuntimeError, match=r"onnxruntime is not.*pip install 'onnxruntime.*' 'numpy.*'"):
        portable.functions()

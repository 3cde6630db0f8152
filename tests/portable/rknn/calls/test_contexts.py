"""Contexts: their flags, copies and ends."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from rkllmd.abi.layouts.rknn import rknn_init_extend
from rkllmd.abi.layouts.rknn_constants import rknn_flag
from tests.portable.rknn.client import CTX, FAIL, MODEL, OK, PARAM, C, descriptors, get, init, load, run, set_input
from tests.portable.rknn.conftest import Line
from tests.portable.rknn.floats import X, runs_and_ends
from tests.portable.rknn.graphs import floats, model


def test_flags(line: Line) -> None:
    for flag in rknn_flag:
        is_fence = "FENCE" in str(flag.name)
        code, context = init(
            floats(), flag, rknn_init_extend(ctx=0) if flag != rknn_flag.RKNN_FLAG_SHARE_WEIGHT_MEM else None
        )
        assert code == (PARAM if is_fence else OK), flag
        if is_fence:
            assert "fences" in line()
        else:
            C["rknn_destroy"](context)
    assert init(floats(), 1 << 30) == (PARAM, 0)
    line()
    assert init(floats(), rknn_flag.RKNN_FLAG_SHARE_WEIGHT_MEM, rknn_init_extend(ctx=5)) == (CTX, 0)
    line()
    assert C["rknn_init"](None, None, 0, 0, None) == PARAM
    line()
    assert C["rknn_init"](ctypes.byref(ctypes.c_uint64()), None, 0, 0, None) == PARAM
    line()


def test_information_only(line: Line) -> None:
    context = load(floats(), rknn_flag.RKNN_FLAG_COLLECT_MODEL_INFO_ONLY)
    assert set_input(context, X) == OK
    assert run(context) == FAIL
    assert "COLLECT_MODEL_INFO_ONLY" in line()
    C["rknn_destroy"](context)


@pytest.mark.parametrize("flags", [0, rknn_flag.RKNN_FLAG_COLLECT_PERF_MASK])
def test_a_copy_lives_on_its_own(flags: int, line: Line) -> None:
    first = ctypes.c_uint64(load(floats(), flags))
    second = ctypes.c_uint64()
    assert C["rknn_dup_context"](ctypes.byref(first), ctypes.byref(second)) == OK
    assert first.value != second.value
    assert C["rknn_destroy"](first) == OK
    assert C["rknn_dup_context"](ctypes.byref(first), ctypes.byref(second)) == CTX
    line()
    assert C["rknn_dup_context"](None, ctypes.byref(second)) == PARAM
    line()
    runs_and_ends(second.value)


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    runs_and_ends(load(floats()))
    before = descriptors()
    for flags in (0, rknn_flag.RKNN_FLAG_COLLECT_PERF_MASK) * 3:
        runs_and_ends(load(floats(), flags))
        assert init(b"no model", flags)[0] == MODEL
    assert descriptors() == before
    assert not list(tmp_path.iterdir())


def test_a_graph_without_inputs() -> None:
    from onnx import helper

    constant = helper.make_node("Constant", [], ["y"], value_floats=[1.0, 2.0])
    context = load(model([constant], {}, {"y": (TensorProto.FLOAT, [2])}))
    assert run(context) == OK
    assert get(context, np.float32).tolist() == [1, 2]
    C["rknn_destroy"](context)

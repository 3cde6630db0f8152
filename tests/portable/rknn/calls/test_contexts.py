"""Contexts: from paths, memory and parts of files; copies; ends."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from rkllmd.abi.layouts.rknn import rknn_init_extend
from rkllmd.abi.layouts.rknn_constants import rknn_flag
from tests.portable.rknn.client import CTX, FAIL, MODEL, OK, PARAM, C, descriptors, get, init, load, run, set_input
from tests.portable.rknn.conftest import Line
from tests.portable.rknn.models import floats, identity, model, reference

X = np.random.default_rng(3).standard_normal((1, 3, 4, 4)).astype(np.float32)


def check(context: int) -> None:
    assert set_input(context, X) == OK
    assert run(context) == OK
    assert (get(context, np.float32) == reference(floats(), {"x": X})[0].ravel()).all()
    assert C["rknn_destroy"](context) == OK


def test_from_memory() -> None:
    check(load(floats()))


def test_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mödel.onnx"
    path.write_bytes(floats())
    check(load(str(path)))


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("tail", [b"", b"something else"])
def test_from_a_part(tmp_path: Path, in_memory: bool, tail: bytes) -> None:
    content = b"header" + floats() + tail
    path = tmp_path / "container"
    path.write_bytes(content)
    extend = rknn_init_extend(real_model_offset=6, real_model_size=len(floats()) if tail else 0)
    code, context = init(content if in_memory else str(path), 0, extend)
    assert code == OK
    check(context)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(("offset", "size"), [(-1, 5), (0, 10**6), (10**6, 0), (5, 2**32 - 1)])
def test_a_part_that_is_not_there(tmp_path: Path, in_memory: bool, offset: int, size: int, line: Line) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(floats())
    extend = rknn_init_extend(real_model_offset=offset, real_model_size=size)
    assert init(floats() if in_memory else str(path), 0, extend) == (MODEL, 0)
    assert "is not within" in line()


def test_what_is_no_model(tmp_path: Path, line: Line) -> None:
    assert init(b"not a model") == (MODEL, 0)
    line()
    assert init(b"RKNN\0\0\0\0") == (MODEL, 0)
    assert "give the .onnx model" in line()
    (tmp_path / "m.rknn").write_bytes(b"RKNN\0")
    assert init(str(tmp_path / "m.rknn")) == (MODEL, 0)
    assert "give the .onnx model" in line()
    assert init(b"GGUF\3\0\0\0") == (MODEL, 0)
    assert "rkllm.init" in line()
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent", "empty", "pipe", "."):
        assert init(str(tmp_path / name)) == (MODEL, 0)
        line()
    assert init("") == (MODEL, 0)
    line()


def test_types_that_rknn_does_not_have(line: Line) -> None:
    assert init(identity(TensorProto.DOUBLE, [1]))[0] == MODEL
    assert "tensor(double)" in line()
    assert init(identity(TensorProto.FLOAT, [1] * 17))[0] == MODEL
    assert "17 dimensions" in line()


@pytest.mark.parametrize(
    "metadata",
    [
        {"rknn_quant": "no JSON"},
        {"rknn_quant": "[]"},
        {"rknn_quant": '{"x": 1}'},
        {"rknn_quant": '{"x": [0, 1]}'},
        {"rknn_quant": '{"x": [0.5, 200]}'},
        {"rknn_quant": '{"z": [0.5, 0]}'},
        {"rknn_dynamic_shapes": "1"},
        {"rknn_dynamic_shapes": "[]"},
        {"rknn_dynamic_shapes": "[[[2, 4]]]"},
        {"rknn_dynamic_shapes": "[[[1, 3], [1, 3]]]"},
    ],
)
def test_wrong_metadata(metadata: dict[str, str], line: Line) -> None:
    assert init(identity(TensorProto.INT8, ["n", 3], metadata))[0] == MODEL
    assert "rknn_" in line()


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
    check(second.value)


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    check(load(floats()))
    before = descriptors()
    for flags in (0, rknn_flag.RKNN_FLAG_COLLECT_PERF_MASK) * 3:
        check(load(floats(), flags))
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

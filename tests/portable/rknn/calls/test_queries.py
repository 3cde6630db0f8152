"""rknn_query, command by command."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

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
from rkllmd.abi.layouts.rknn_constants import rknn_flag, rknn_query_cmd, rknn_tensor_qnt_type, rknn_tensor_type
from tests.portable.rknn.client import (
    FAIL,
    MODEL,
    NC1HWC2,
    NCHW,
    NHWC,
    OK,
    PARAM,
    UNDEFINED,
    C,
    attr,
    dims,
    init,
    load,
    query,
    run,
    set_input,
)
from tests.portable.rknn.conftest import Line
from tests.portable.rknn.graphs import (
    FEATURE_SCALE,
    FEATURE_ZERO,
    INPUT_SCALE,
    INPUT_ZERO,
    dynamic,
    floats,
    identity,
    quantised,
)

PERF = rknn_flag.RKNN_FLAG_COLLECT_PERF_MASK
Q = rknn_query_cmd
X = np.ones((1, 3, 4, 4), np.float32)


def layers(context: int) -> list[str]:
    info = rknn_perf_detail()
    assert query(context, Q.RKNN_QUERY_PERF_DETAIL, info) == OK
    assert info.data_len == len(info.perf_data)
    text: bytes = info.perf_data
    return text.decode().splitlines()


def test_number_of_inputs_and_outputs() -> None:
    info = rknn_input_output_num()
    context = load(quantised())
    assert query(context, Q.RKNN_QUERY_IN_OUT_NUM, info) == OK
    assert (info.n_input, info.n_output) == (1, 2)
    C["rknn_destroy"](context)


def test_attributes_of_a_quantised_model() -> None:
    context = load(quantised())
    x, feature, scores = attr(context, "INPUT"), attr(context, "OUTPUT"), attr(context, "OUTPUT", 1)
    assert (x.name, dims(x), x.fmt) == (b"x", (1, 6, 5, 3), NHWC)
    assert (feature.name, dims(feature), feature.fmt) == (b"feature", (1, 20, 6, 5), NCHW)
    assert (x.type, x.n_elems, x.size, x.size_with_stride, x.w_stride) == (2, 90, 90, 90, 5)
    assert x.qnt_type == feature.qnt_type == rknn_tensor_qnt_type.RKNN_TENSOR_QNT_AFFINE_ASYMMETRIC
    assert (x.scale, x.zp) == (pytest.approx(INPUT_SCALE), INPUT_ZERO)
    assert (feature.scale, feature.zp) == (pytest.approx(FEATURE_SCALE), FEATURE_ZERO)
    assert (scores.index, scores.type, scores.size, scores.qnt_type) == (1, 0, 2400, 0)
    C["rknn_destroy"](context)


def test_native_attributes() -> None:
    context = load(quantised())
    for command in ("NATIVE_INPUT", "CURRENT_NATIVE_INPUT"):
        native = attr(context, command)
        assert (dims(native), native.fmt, native.size, native.n_elems) == ((1, 1, 6, 5, 16), NC1HWC2, 480, 480)
    for command in ("NATIVE_OUTPUT", "CURRENT_NATIVE_OUTPUT"):
        assert dims(attr(context, command)) == (1, 2, 6, 5, 16)
        # float32 has no such layout
        assert (dims(attr(context, command, 1)), attr(context, command, 1).fmt) == ((1, 20, 6, 5), NCHW)
    assert dims(attr(context, "NATIVE_NHWC_OUTPUT")) == (1, 6, 5, 20)
    assert attr(context, "NATIVE_NHWC_OUTPUT").fmt == NHWC
    assert dims(attr(context, "NATIVE_NHWC_INPUT")) == (1, 6, 5, 3)
    C["rknn_destroy"](context)
    context = load(identity(TensorProto.FLOAT16, [1, 9, 2, 2]))
    assert dims(attr(context, "NATIVE_INPUT")) == (1, 2, 2, 2, 8)
    C["rknn_destroy"](context)


@pytest.mark.parametrize("shape", [[], [5], [2, 3], [1, 2, 3], [1, 2, 3, 4, 5]])
def test_other_ranks(shape: list[int]) -> None:
    context = load(identity(TensorProto.UINT16, shape))
    for command in ("INPUT", "OUTPUT", "NATIVE_INPUT", "NATIVE_OUTPUT", "NATIVE_NHWC_OUTPUT", "CURRENT_INPUT"):
        info = attr(context, command)
        assert (dims(info), info.fmt, info.type) == (tuple(shape), UNDEFINED, rknn_tensor_type.RKNN_TENSOR_UINT16)
        assert info.size == 2 * np.prod(shape, dtype=int)
    C["rknn_destroy"](context)


def test_wrong_questions(line: Line) -> None:
    context = load(floats())
    info = rknn_tensor_attr(index=1)
    assert query(context, Q.RKNN_QUERY_INPUT_ATTR, info) == PARAM
    assert "no tensor 1" in line()
    for command in (Q.RKNN_QUERY_CMD_MAX, -1, Q.RKNN_QUERY_DEVICE_MEM_INFO):
        assert query(context, command, info) == PARAM
        line()
    for size in (0, ctypes.sizeof(info) - 1, ctypes.sizeof(info) + 1):
        assert C["rknn_query"](context, Q.RKNN_QUERY_INPUT_ATTR, ctypes.addressof(info), size) == PARAM
        assert "rknn_tensor_attr, 376 bytes" in line()
    assert C["rknn_query"](context, Q.RKNN_QUERY_INPUT_ATTR, None, 376) == PARAM
    line()
    C["rknn_destroy"](context)


def test_versions_sizes_and_text() -> None:
    context = load(quantised())
    version, sizes, text = rknn_sdk_version(), rknn_mem_size(), rknn_custom_string()
    assert query(context, Q.RKNN_QUERY_SDK_VERSION, version) == OK
    assert version.api_version.decode() == f"2.3.2 (portable@onnxruntime-{onnxruntime.__version__})"
    assert version.drv_version == b"0.0.0 (no NPU)"
    assert query(context, Q.RKNN_QUERY_MEM_SIZE, sizes) == OK
    assert sizes.total_weight_size == len(quantised())
    assert sizes.total_internal_size == 90 + 600 + 2400
    assert query(context, Q.RKNN_QUERY_CUSTOM_STRING, text) == OK
    assert text.string.decode() == "made for a test: é"
    C["rknn_destroy"](context)


def test_a_custom_string_is_cut_between_characters() -> None:
    context = load(identity(TensorProto.FLOAT, [1], {"custom_string": "é" * 600}))
    text = rknn_custom_string()
    assert query(context, Q.RKNN_QUERY_CUSTOM_STRING, text) == OK
    assert text.string.decode() == "é" * 511
    C["rknn_destroy"](context)


def test_dynamic_range(line: Line) -> None:
    info = rknn_input_range()
    context = load(floats())
    assert query(context, Q.RKNN_QUERY_INPUT_DYNAMIC_RANGE, info) == MODEL, "as the vendor's runtime answers"
    assert "the model is static" in line()
    C["rknn_destroy"](context)
    context = load(dynamic())
    assert query(context, Q.RKNN_QUERY_INPUT_DYNAMIC_RANGE, info) == OK
    assert (info.name, info.shape_number, info.n_dims, info.fmt) == (b"x", 1, 4, NHWC)
    assert list(info.dyn_range[0][:5]) == [1, 1, 4, 3, 0]
    C["rknn_destroy"](context)
    context = load(dynamic({"rknn_dynamic_shapes": json.dumps([[[2, 3, 8, 4]], [[1, 3, 9, 4]]])}))
    assert query(context, Q.RKNN_QUERY_INPUT_DYNAMIC_RANGE, info) == OK
    assert info.shape_number == 2
    assert [list(row[:5]) for row in info.dyn_range[:3]] == [[2, 8, 4, 3, 0], [1, 9, 4, 3, 0], [0] * 5]
    assert dims(attr(context, "INPUT")) == (2, 8, 4, 3)
    info.index = 1
    assert query(context, Q.RKNN_QUERY_INPUT_DYNAMIC_RANGE, info) == PARAM
    C["rknn_destroy"](context)


def test_times(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    context = load(floats(), PERF)
    info, detail = rknn_perf_run(), rknn_perf_detail()
    for command, struct in ((Q.RKNN_QUERY_PERF_RUN, info), (Q.RKNN_QUERY_PERF_DETAIL, detail)):
        assert query(context, command, struct) == FAIL
        assert "has not been run" in line()
    for _ in range(3):
        assert set_input(context, X) == OK
        assert run(context) == OK
        assert run(context) == OK
        assert query(context, Q.RKNN_QUERY_PERF_RUN, info) == OK
        assert info.run_duration > 0
        table = layers(context)
        assert table[0].split() == ["ID", "OpType", "DataType", "Target", "InputShape", "OutputShape", "Time(us)"]
        rows = [row.split() for row in table[1:-1]]
        assert rows
        assert [row[0] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
        assert all(len(row) == 7 and row[3] == "CPU" for row in rows)
        assert rows[0][2] == "FLOAT32"
        assert "(1,2,4,4)" in {row[5] for row in rows}
        assert table[-1] == f"Total Operator Elapsed Per Frame Time(us): {sum(int(row[6]) for row in rows)}"
        assert layers(context) == table
    assert not list(tmp_path.iterdir())
    C["rknn_destroy"](context)


def test_only_the_last_run_is_in_the_table_even_of_many() -> None:
    context = load(floats(), PERF)
    set_input(context, X)
    run(context)
    lines = len(layers(context))
    for _ in range(70):
        assert run(context) == OK
    assert len(layers(context)) == lines
    C["rknn_destroy"](context)


def test_layers_only_where_they_are_measured() -> None:
    _, context = init(floats())
    assert layers(context) == [], "asking is no error"
    set_input(context, X)
    run(context)
    assert layers(context) == []
    C["rknn_destroy"](context)

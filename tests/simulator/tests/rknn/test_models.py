"""RKNN's simulator is what its binary says; its scenarios, and the models that it describes."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from rkllmd.abi.layouts import rknn
from rkllmd.abi.layouts.rknn_constants import rknn_error
from tests.simulator.build import build_rknn
from tests.simulator.rknn_player import SIGNATURES, Format, Query, RknnSimulator, Type
from tests.simulator.tests.rknn.models import ANY, TWO, Script

# ---- the binary -----------------------------------------------------------------------------------------------------


def test_binary_names_its_version_and_exports_all_functions(tmp_path: Path) -> None:
    path = build_rknn("9.9.9", tmp_path)
    assert path.name == "librknnrt.so"
    assert b"librknnrt version: 9.9.9 (429f97ae6b@2025-04-09T09:09:27)" in path.read_bytes()
    library = ctypes.CDLL(str(path))
    assert len(SIGNATURES) == 35
    assert all(hasattr(library, name) for name in SIGNATURES)
    assert build_rknn("9.9.9", tmp_path) == path
    with pytest.raises(ValueError, match="characters"):
        build_rknn("../1", tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "text=a",
        "init=explode",
        "run=error",
        "fault.rknn_run=hang",
        "return.rknn_create_mem=1",
        "print_at=3",
        "run_us=x",
    ],
)
def test_a_mistake_in_the_scenario_makes_init_fail(
    simulator: RknnSimulator, script: Script, text: str, complaints: list[str]
) -> None:
    script(text)
    complaints.append("scenario: ")
    assert simulator.init(ANY).status == -1


def test_a_file_is_read_by_every_call(simulator: RknnSimulator, script: Script, tmp_path: Path) -> None:
    path = tmp_path / "scenario"
    path.write_text("log=none\n")
    script(f"@{path}")
    context = simulator.init(ANY)
    path.write_text("log=none\nreturn.rknn_set_core_mask=-3\n")
    assert context.set_core_mask(1) == -3
    path.write_text("log=none\n")
    assert context.set_core_mask(1) == 0
    context.destroy()


# ---- models ---------------------------------------------------------------------------------------------------------


def test_default_model(simulator: RknnSimulator, tmp_path: Path) -> None:
    path = tmp_path / "empty.rknn"
    path.touch()
    context = simulator.init(path)
    assert context.status == 0
    counts = context.ask(Query.RKNN_QUERY_IN_OUT_NUM, rknn.rknn_input_output_num())
    assert (counts.n_input, counts.n_output) == (1, 1)
    image = context.attr(Query.RKNN_QUERY_INPUT_ATTR)
    assert (image.name, list(image.dims[: image.n_dims]), image.n_elems, image.size) == (b"image", [1, 4, 4, 3], 48, 48)
    assert (image.fmt, image.type, image.qnt_type) == (Format.RKNN_TENSOR_NHWC, Type.RKNN_TENSOR_INT8, 2)
    assert (image.scale, image.zp, image.w_stride, image.size_with_stride) == (0.5, -3, 4, 48)
    scores = context.attr(Query.RKNN_QUERY_OUTPUT_ATTR)
    assert (scores.name, list(scores.dims[:2]), scores.fmt) == (b"scores", [1, 10], Format.RKNN_TENSOR_UNDEFINED)
    assert (scores.scale, scores.zp) == (0.25, 4)
    assert context.destroy() == 0
    assert simulator.live() == (0, 0, 0)


def test_described_model(simulator: RknnSimulator) -> None:
    context = simulator.init(TWO)
    sizes = context.ask(Query.RKNN_QUERY_MEM_SIZE, rknn.rknn_mem_size())
    assert (sizes.total_weight_size, sizes.total_internal_size, sizes.total_dma_allocated_size) == (
        *(100000, 5000),
        105000,
    )
    assert context.ask(Query.RKNN_QUERY_CUSTOM_STRING, rknn.rknn_custom_string()).string == b"hello, world"
    version = context.ask(Query.RKNN_QUERY_SDK_VERSION, rknn.rknn_sdk_version())
    assert (version.api_version, version.drv_version) == (b"2.3.2 (429f97ae6b@2025-04-09T09:09:27)", b"0.9.8")
    native = context.attr(Query.RKNN_QUERY_NATIVE_OUTPUT_ATTR)
    assert (list(native.dims[: native.n_dims]), native.fmt, native.size) == ([1, 1, 2, 2, 16], 2, 64)
    nhwc = context.attr(Query.RKNN_QUERY_NATIVE_NHWC_OUTPUT_ATTR)
    assert (list(nhwc.dims[: nhwc.n_dims]), nhwc.fmt) == ([1, 2, 2, 3], Format.RKNN_TENSOR_NHWC)
    assert context.attr(Query.RKNN_QUERY_OUTPUT_ATTR, 1).type == Type.RKNN_TENSOR_FLOAT16
    context.destroy()


def test_wrong_queries(simulator: RknnSimulator) -> None:
    context = simulator.init(ANY)
    attr = rknn.rknn_tensor_attr(index=1)
    size = ctypes.sizeof(attr)
    wrong = rknn_error.RKNN_ERR_PARAM_INVALID
    assert context.query(Query.RKNN_QUERY_INPUT_ATTR, ctypes.byref(attr), size) == wrong
    assert context.query(Query.RKNN_QUERY_INPUT_ATTR, ctypes.byref(attr), size - 1) == wrong
    assert context.query(Query.RKNN_QUERY_INPUT_ATTR, None, size) == wrong
    assert context.query(Query.RKNN_QUERY_DEVICE_MEM_INFO, ctypes.byref(attr), size) == wrong
    assert context.query(Query.RKNN_QUERY_CMD_MAX, ctypes.byref(attr), size) == wrong
    dynamic = rknn.rknn_input_range()
    assert context.query(Query.RKNN_QUERY_INPUT_DYNAMIC_RANGE, ctypes.byref(dynamic), ctypes.sizeof(dynamic)) == -6
    context.destroy()


@pytest.mark.parametrize(
    "line",
    [
        "colour name=x",
        "input name=x dims=1,0",
        "input name=x dims=1,2|1,2,3",
        "input dims=1",
        "input name=x",
        "input name=x dims=1 type=int9",
        "input name=x dims=1 fmt=nc1hwc2",
        "input name=x dims=99999,99999",
        "input name=x dims=1 scale=0",
        "input name=x dims",
        "operator output=0",
        "operator type=a axis=1",
        "operator type=a axis:int64=b",
        "operator type=a output=7",
        "weights many",
    ],
)
def test_a_mistake_in_a_description(simulator: RknnSimulator, line: str, complaints: list[str]) -> None:
    model = f"RKNNSIM\ninput name=a dims=1\noutput name=b dims=1\n{line}\n".encode()
    complaints.append("model: ")
    assert simulator.init(model).status == rknn_error.RKNN_ERR_MODEL_INVALID


def test_no_model(simulator: RknnSimulator, script: Script, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script("")
    assert simulator.init(b"NOT A MODEL").status == rknn_error.RKNN_ERR_MODEL_INVALID
    assert simulator.init(tmp_path / "none.rknn").status == rknn_error.RKNN_ERR_MODEL_INVALID
    said = capfd.readouterr().err
    assert "none.rknn failed: No such file" in said
    assert "rknn_init, load model failed!" in said
    assert simulator.rknn_init(None, b"", 0, 0, None) == rknn_error.RKNN_ERR_PARAM_INVALID


def test_a_model_inside_a_file(simulator: RknnSimulator, tmp_path: Path) -> None:
    path = tmp_path / "packed"
    path.write_bytes(b"header" + TWO + b"garbage")
    extend = rknn.rknn_init_extend(real_model_offset=6, real_model_size=len(TWO))
    context = simulator.init(path, extend=ctypes.byref(extend))
    assert context.attr(Query.RKNN_QUERY_INPUT_ATTR).name == b"pixels"
    context.destroy()

"""rknn.query: each command's typed object, and at any time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.portable.rknn.graphs import dynamic, floats, quantised
from tests.rknn.board import ECHO, TWO_SHAPES, Client, Simulator, b64, tensor

# rknn_api.h, 2.3.2: what has no other name, in the order of its numbers.
COMMANDS = (
    *("IN_OUT_NUM", "INPUT_ATTR", "OUTPUT_ATTR", "PERF_DETAIL", "PERF_RUN", "SDK_VERSION", "MEM_SIZE"),
    *("CUSTOM_STRING", "NATIVE_INPUT_ATTR", "NATIVE_OUTPUT_ATTR", "NATIVE_NHWC_INPUT_ATTR"),
    *("NATIVE_NHWC_OUTPUT_ATTR", "DEVICE_MEM_INFO", "INPUT_DYNAMIC_RANGE", "CURRENT_INPUT_ATTR"),
    *("CURRENT_OUTPUT_ATTR", "CURRENT_NATIVE_INPUT_ATTR", "CURRENT_NATIVE_OUTPUT_ATTR"),
)
ATTRS = tuple(name for name in COMMANDS if name.endswith("_ATTR"))
FIELDS = {
    *("index", "n_dims", "dims", "name", "n_elems", "size", "fmt", "type", "qnt_type", "fl", "zp", "scale"),
    *("w_stride", "size_with_stride", "pass_through", "h_stride"),
}
SIMULATED = (
    b"RKNNSIM\nstring made for a test\nweights 5000\ninternal 600\n"
    b"input name=image type=int8 dims=1,4,4,3 scale=0.5 zp=-3\n"
    b"output name=map type=int8 dims=1,20,2,2 scale=0.25 zp=4\n"
    b"output name=scores type=float16 dims=1,10\n"
)


def ask(wire: Client, command: str, index: int | None = None) -> Any:
    params: dict[str, Any] = {"cmd": f"RKNN_QUERY_{command}"}
    return wire.result("rknn.query", params if index is None else {**params, "index": index})


def some(answer: dict[str, Any], **wanted: Any) -> None:
    assert {name: answer[name] for name in wanted} == wanted


def test_every_command_is_asked_here(portable: Client) -> None:
    queries = portable.result("rknn.get_constants")["QUERIES"]
    names = [f"RKNN_QUERY_{name}" for name in COMMANDS]
    assert [queries[name] for name in names] == list(range(18))
    aliases = {name for name in queries if "NC1HWC2" in name}
    assert queries.keys() == {*names, *aliases, "RKNN_QUERY_CMD_MAX"}


@pytest.mark.parametrize("runtime", ["portable", "simulator"])
def test_every_attribute_has_cs_fields(runtime: str, request: pytest.FixtureRequest) -> None:
    wire = request.getfixturevalue(runtime)
    wire.load(quantised() if runtime == "portable" else SIMULATED)
    for command in ATTRS:
        assert ask(wire, command, 0).keys() == FIELDS, command
        number = wire.result("rknn.get_constants")["QUERIES"][f"RKNN_QUERY_{command}"]
        assert wire.result("rknn.query", {"cmd": number}) == ask(wire, command, 0), "a number, and index 0"
    counts = ask(wire, "IN_OUT_NUM")
    for command in ATTRS:
        side = "n_input" if "INPUT" in command else "n_output"
        params = {"cmd": f"RKNN_QUERY_{command}", "index": counts[side]}
        refused = wire.refused("rknn.query", params)
        assert (refused["kind"], refused["path"], refused["limit"]) == ("InvalidParams", "$.index", counts[side] - 1)


def test_the_portable_runtimes_attributes(portable: Client) -> None:
    portable.load(quantised())
    assert ask(portable, "IN_OUT_NUM") == {"n_input": 1, "n_output": 2}
    affine = {"qnt_type": "RKNN_TENSOR_QNT_AFFINE_ASYMMETRIC", "type": "RKNN_TENSOR_INT8"}
    some(
        ask(portable, "INPUT_ATTR"),
        **affine,
        index=0,
        name="x",
        n_dims=4,
        dims=[1, 6, 5, 3],
        n_elems=90,
        size=90,
        fmt="RKNN_TENSOR_NHWC",
        scale=0.05,
        zp=-3,
    )
    feature = {"index": 0, "name": "feature", "scale": 0.1, "zp": 7}
    some(ask(portable, "OUTPUT_ATTR", 0), **affine, **feature, dims=[1, 20, 6, 5], fmt="RKNN_TENSOR_NCHW")
    some(ask(portable, "OUTPUT_ATTR", 1), index=1, name="scores", type="RKNN_TENSOR_FLOAT32", size=2400)
    some(ask(portable, "OUTPUT_ATTR", 1), qnt_type="RKNN_TENSOR_QNT_NONE", dims=[1, 20, 6, 5])
    some(ask(portable, "NATIVE_OUTPUT_ATTR", 0), **feature, fmt="RKNN_TENSOR_NC1HWC2", dims=[1, 2, 6, 5, 16])
    some(ask(portable, "NATIVE_NHWC_OUTPUT_ATTR", 0), **feature, fmt="RKNN_TENSOR_NHWC", dims=[1, 6, 5, 20])
    some(ask(portable, "CURRENT_NATIVE_OUTPUT_ATTR", 0), **feature, fmt="RKNN_TENSOR_NC1HWC2")


def test_the_simulators_attributes(simulator: Client) -> None:
    simulator.load(SIMULATED)
    assert ask(simulator, "IN_OUT_NUM") == {"n_input": 1, "n_output": 2}
    some(
        ask(simulator, "INPUT_ATTR"),
        index=0,
        name="image",
        dims=[1, 4, 4, 3],
        type="RKNN_TENSOR_INT8",
        size=48,
        fmt="RKNN_TENSOR_NHWC",
        scale=0.5,
        zp=-3,
    )
    some(ask(simulator, "OUTPUT_ATTR", 0), name="map", fmt="RKNN_TENSOR_NCHW", dims=[1, 20, 2, 2], scale=0.25)
    some(ask(simulator, "OUTPUT_ATTR", 1), name="scores", fmt="RKNN_TENSOR_UNDEFINED", type="RKNN_TENSOR_FLOAT16")
    native = {"fmt": "RKNN_TENSOR_NC1HWC2", "dims": [1, 2, 2, 2, 16], "size": 128}
    some(ask(simulator, "NATIVE_OUTPUT_ATTR", 0), **native)
    some(ask(simulator, "CURRENT_NATIVE_OUTPUT_ATTR", 0), **native)
    some(ask(simulator, "NATIVE_NHWC_OUTPUT_ATTR", 0), fmt="RKNN_TENSOR_NHWC", dims=[1, 2, 2, 20])
    assert ask(simulator, "CUSTOM_STRING") == {"string": "made for a test"}
    some(ask(simulator, "MEM_SIZE"), total_weight_size=5000, total_internal_size=600)
    version = ask(simulator, "SDK_VERSION")
    assert version["api_version"].startswith("2.3.2 (")
    assert version["drv_version"] == "0.9.8"


def test_what_the_portable_runtime_says_about_itself(portable: Client) -> None:
    portable.load(quantised())
    assert ask(portable, "CUSTOM_STRING") == {"string": "made for a test: é"}
    version = ask(portable, "SDK_VERSION")
    assert version["api_version"].startswith("2.3.2 (portable@onnxruntime-")
    assert version["drv_version"] == "0.0.0 (no NPU)"
    size = ask(portable, "MEM_SIZE")
    assert size["total_weight_size"] >= 20 * 27, "the convolution's weights"
    assert size["total_internal_size"] > 0
    assert size.keys() >= {"total_dma_allocated_size", "total_sram_size", "free_sram_size"}


@pytest.mark.parametrize("runtime", ["portable", "simulator"])
def test_a_run_is_measured(runtime: str, request: pytest.FixtureRequest, board: Simulator) -> None:
    wire = request.getfixturevalue(runtime)
    image = np.ones((1, 4, 4, 3), np.float32)
    model = floats() if runtime == "portable" else ECHO
    given = tensor(image) if runtime == "portable" else b64(bytes(8))
    wire.load(model, flag=["RKNN_FLAG_COLLECT_PERF_MASK"])
    refused = wire.refused("rknn.query", {"cmd": "RKNN_QUERY_PERF_DETAIL"})
    assert (refused["kind"], refused["function"]) == ("RuntimeError", "rknn_query"), "nothing has run yet"
    board.play({"run_us": 3000})
    wire.infer(given)
    duration = ask(wire, "PERF_RUN")["run_duration"]
    assert duration >= 3000 if runtime == "simulator" else duration > 0
    detail = ask(wire, "PERF_DETAIL")
    assert "Total Operator Elapsed Per Frame Time(us)" in detail["perf_data"]
    kinds = [row["OpType"] for row in detail["rows"]]
    assert any("Conv" in kind for kind in kinds), kinds
    assert all(isinstance(row["ID"], int) for row in detail["rows"])
    if runtime == "simulator":
        board.play({"run_us": 6000})
        wire.infer(given)
        assert ask(wire, "PERF_RUN")["run_duration"] >= 6000, "of the last run, not of the first"


@pytest.mark.parametrize("runtime", ["portable", "simulator"])
def test_without_the_flag_there_are_no_layers(runtime: str, request: pytest.FixtureRequest) -> None:
    wire = request.getfixturevalue(runtime)
    wire.load(floats() if runtime == "portable" else ECHO)
    assert ask(wire, "PERF_DETAIL") == {"perf_data": "", "rows": []}
    wire.infer(tensor(np.ones((1, 4, 4, 3), np.float32)) if runtime == "portable" else b64(bytes(8)))
    assert ask(wire, "PERF_DETAIL") == {"perf_data": "", "rows": []}
    assert ask(wire, "PERF_RUN")["run_duration"] >= 0


def test_dynamic_ranges(portable: Client, simulator: Client) -> None:
    sets = "[[[1, 3, 2, 4]], [[2, 3, 5, 4]]]"
    portable.load(dynamic({"rknn_dynamic_shapes": sets}))
    answer = ask(portable, "INPUT_DYNAMIC_RANGE", 0)
    some(answer, index=0, name="x", shape_number=2, n_dims=4, fmt="RKNN_TENSOR_NHWC")
    assert answer["shapes"] == [[1, 2, 4, 3], [2, 5, 4, 3]]
    static = simulator.load(ECHO)
    refused = simulator.refused("rknn.query", {"cmd": "RKNN_QUERY_INPUT_DYNAMIC_RANGE"})
    assert refused["status_name"] == "RKNN_ERR_MODEL_INVALID"
    assert any("static" in line for line in refused["log"])
    simulator.result("rknn.destroy", {"context": static})
    simulator.load(TWO_SHAPES)
    assert ask(simulator, "INPUT_DYNAMIC_RANGE")["shapes"] == [[1, 4, 4, 3], [1, 8, 8, 3]]


@pytest.mark.parametrize("runtime", ["portable", "simulator"])
def test_current_attributes_follow_the_shapes(runtime: str, request: pytest.FixtureRequest) -> None:
    wire = request.getfixturevalue(runtime)
    wire.load(dynamic() if runtime == "portable" else TWO_SHAPES)
    first = [ask(wire, name) for name in ("INPUT_ATTR", "OUTPUT_ATTR")]
    dims = [2, 5, 4, 3] if runtime == "portable" else [1, 8, 8, 3]
    wire.result("rknn.set_input_shapes", {"attr": [{"dims": dims}]})
    assert ask(wire, "CURRENT_INPUT_ATTR")["dims"] == dims
    assert ask(wire, "CURRENT_NATIVE_INPUT_ATTR")["dims"] == dims
    out = ask(wire, "CURRENT_OUTPUT_ATTR")
    assert out["n_elems"] == int(np.prod(dims))
    assert ask(wire, "CURRENT_NATIVE_OUTPUT_ATTR")["n_elems"] >= out["n_elems"]
    assert [ask(wire, name) for name in ("INPUT_ATTR", "OUTPUT_ATTR")] == first, "those at the start stay"


def test_known_answers_need_no_call(simulator: Client, board: Simulator) -> None:
    simulator.load(SIMULATED)
    before = board.daemon.calls("rknn_query")
    for command in ("IN_OUT_NUM", "SDK_VERSION", "MEM_SIZE", "CUSTOM_STRING", *ATTRS):
        if not command.startswith("CURRENT_NATIVE"):
            ask(simulator, command)
    assert board.daemon.calls("rknn_query") == before
    ask(simulator, "CURRENT_NATIVE_INPUT_ATTR")
    assert board.daemon.calls("rknn_query") == before + 1


def test_queries_and_status_answer_while_a_model_loads(own_simulator: Callable[..., Simulator]) -> None:
    board = own_simulator()
    with board.client() as wire, board.client() as loader:
        context = wire.load(SIMULATED)
        with board.playing(hold__rknn_init=1):
            loader.request("rknn.init", {"model_path": str(board.daemon.model)})
            board.wait_enter("rknn_init", 2)
            for command in ("IN_OUT_NUM", "SDK_VERSION", "MEM_SIZE", "CUSTOM_STRING"):
                ask(wire, command)
            for command in ATTRS[:-2]:
                ask(wire, command, 0)
            status = wire.result("server.status")
            wire.result("rknn.get_constants")
            assert (status["state"], status["current"]["method"]) == ("loading", "rknn.init")
            assert [item["context"] for item in status["contexts"]] == [context]
            assert board.seen("leave", "rknn_init") == ["0"], "it is still loading: nobody waits for the load"
            # What has to be asked of the runtime waits for its turn, and no longer.
            wire.request("rknn.query", {"context": context, "cmd": "RKNN_QUERY_CURRENT_NATIVE_INPUT_ATTR"}, "late")
            assert wire.result("server.queue", call_id="queue")["length"] == 1
            board.daemon.let_go()
            assert wire.final("late")["result"]["dims"] == [1, 4, 4, 3]
            assert "context" in loader.final(1)["result"]


def test_constants_are_those_of_the_header(portable: Client) -> None:
    constants = portable.result("rknn.get_constants")
    groups = {"FLAGS", "ERRORS", "QUERIES", "TENSOR_TYPES", "QNT_TYPES", "FORMATS", "CORE_MASKS", "MEMORY_FLAGS"}
    assert constants.keys() >= groups | {"ALLOC_FLAGS", "SYNC_MODES", "MAX_VALUES", "MATMUL_TYPES", "MATMUL_LAYOUTS"}
    assert constants["FLAGS"]["RKNN_FLAG_COLLECT_PERF_MASK"] == 8
    assert constants["ERRORS"]["RKNN_ERR_TIMEOUT"] == -2
    assert constants["MAX_VALUES"]["RKNN_MAX_DIMS"] == 16
    assert constants["CORE_MASKS"]["RKNN_NPU_CORE_0_1_2"] == 7
    assert constants["MATMUL_TYPES"]["RKNN_INT8_MM_INT8_TO_INT32"] == 2

"""What clients of the C server before this daemon send to RKNN's functions, and that no mistake hides in it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rknn.board import BYTES, ECHO, TWO_SHAPES, Client, b64

OK = {"success": True, "status": 0}


@pytest.fixture
def loaded(simulator: Client) -> Client:
    simulator.load(ECHO)
    simulator.result("rknn.run", {"input_data": b64(BYTES)})
    return simulator


def place(error: dict[str, Any]) -> tuple[Any, ...]:
    return error["code"], error["path"], error["keyword"]


@pytest.mark.parametrize("name", ["flag", "flags"])
def test_init_takes_its_flags_by_both_names(simulator: Client, name: str) -> None:
    simulator.load(ECHO, **{name: "RKNN_FLAG_COLLECT_PERF_MASK"})
    assert simulator.result("rknn.query", {"cmd": "RKNN_QUERY_SDK_VERSION"})
    simulator.load(ECHO, **{name: 0})


def test_wrong_flags_are_refused(simulator: Client) -> None:
    model = {"data": b64(ECHO)}
    error = simulator.refused("rknn.init", {"model": model, "flag": 0, "flags": 0})
    assert place(error) == (-32602, "$.flags", "uniqueItems")
    assert simulator.refused("rknn.init", {"model": model, "flags": "RKNN_FLAG"})["path"] == "$.flags"
    assert simulator.refused("rknn.init", {"model": model, "flages": 0})["keyword"] == "additionalProperties"


@pytest.mark.parametrize(
    "params",
    [
        {"n_outputs": 1},
        {"num_outputs": 1},
        {"n_outputs": 1, "outputs": [{"want_float": False}]},
        {"n_outputs": 1, "outputs": [{"index": 0}], "extend": {"return_full_data": True}},
        {"n_outputs": None, "outputs": None, "extend": None},
        {"extend": {"frame_id": 0}},
        [None, 1, [{"index": 0}], None],
        [None, 1],
        [None, None, [{"index": 0}]],
        [None, [{"index": 0}]],
        {"context": 0, "n_outputs": 1},
        [0, 1],
    ],
)
def test_outputs_get_takes_cs_count(loaded: Client, params: Any) -> None:
    (output,) = loaded.result("rknn.outputs_get", params)["outputs"]
    assert output["data"] == b64(BYTES)
    assert loaded.result("rknn.outputs_release", {"context": 0, "n_outputs": 1}) == OK


@pytest.mark.parametrize(
    ("params", "path", "keyword"),
    [
        ({"n_outputs": 2, "outputs": [{"index": 0}]}, "$.n_outputs", "const"),
        ({"num_outputs": 2, "outputs": [{"index": 0}]}, "$.num_outputs", "const"),
        ([None, 2, [{"index": 0}]], "$[1]", "const"),
        ({"n_outputs": 2}, "$.n_outputs", "maximum"),
        ({"n_outputs": 0}, "$.n_outputs", "minimum"),
        ({"n_outputs": 1, "num_outputs": 1}, "$.num_outputs", "uniqueItems"),
        ({"extend": {"return_full_data": False}}, "$.extend.return_full_data", "enum"),
        ({"extend": {"full": True}}, "$.extend", "additionalProperties"),
    ],
)
def test_counts_that_do_not_fit_are_refused(loaded: Client, params: Any, path: str, keyword: str) -> None:
    assert place(loaded.refused("rknn.outputs_get", params)) == (-32602, path, keyword)


def test_inputs_set_takes_cs_count(loaded: Client) -> None:
    one = [{"index": 0, "buf": b64(BYTES)}]
    for good in ([None, 1, one], [None, one], {"n_inputs": 1, "inputs": one}, {"n_inputs": None, "inputs": one}):
        assert loaded.result("rknn.inputs_set", good)["success"] is True
    for bad in ([None, 2, one], {"n_inputs": 2, "inputs": one}, {"n_inputs": 0, "inputs": one}):
        error = loaded.refused("rknn.inputs_set", bad)
        assert (error["keyword"], error["limit"]) == ("const", 1)
        assert "must be the number of inputs given, 1, or left out" in error["message"]


def test_what_query_answers_can_be_given_back(simulator: Client) -> None:
    """Every attribute as it was answered: the fields that nobody may change among them."""
    context = simulator.load(TWO_SHAPES)
    commands = ["RKNN_QUERY_{}_ATTR", "RKNN_QUERY_CURRENT_{}_ATTR", "RKNN_QUERY_NATIVE_{}_ATTR"]
    for command in commands:
        for side, output in (("INPUT", False), ("OUTPUT", True)):
            attr = simulator.result("rknn.query", {"cmd": command.format(side), "index": 0})
            mem = simulator.memory(context, bytes(attr["size_with_stride"] or attr["size"]))
            bound = simulator.result("rknn.set_io_mem", {"mem": mem, "attr": attr, "output": output})
            assert bound["success"] is True, (command, side)
    attr = simulator.result("rknn.query", {"cmd": "RKNN_QUERY_INPUT_ATTR", "index": 0})
    assert simulator.result("rknn.set_input_shapes", {"n_inputs": 1, "attr": [attr]}) == OK
    assert simulator.result("rknn.set_input_shape", {"attr": attr}) == OK
    current = simulator.result("rknn.query", {"cmd": "RKNN_QUERY_CURRENT_INPUT_ATTR"})
    assert current["dims"] == attr["dims"]
    changed = {**attr, "zp": attr["zp"] + 1}
    assert simulator.refused("rknn.set_input_shapes", {"attr": [changed]})["path"] == "$.attr[0].zp"
    assert simulator.refused("rknn.set_input_shapes", {"n_inputs": 2, "attr": [attr]})["keyword"] == "const"


def test_what_the_matmul_functions_answer_can_be_given_back(simulator: Client) -> None:
    info = {"M": 2, "K": 32, "N": 32, "type": "RKNN_INT8_MM_INT8_TO_INT32", "reserved": None}
    made = simulator.result("rknn.matmul_create", info)
    for letter, attr in made["io_attr"].items():
        mem = simulator.memory(made["context"], bytes(attr["size"]))
        given = {"mem": mem, "attr": {"name": letter, **attr}}
        assert simulator.result("rknn.matmul_set_io_mem", given)["success"] is True, letter
    assert simulator.refused("rknn.matmul_create", {**info, "reserved": [1]})["path"] == "$.reserved[0]"

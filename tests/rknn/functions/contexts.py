"""Cases of the functions of contexts: load, set inputs and shapes, run, get outputs."""

from __future__ import annotations

import numpy as np

from tests.portable.rknn.graphs import dynamic, floats, reference
from tests.rknn.board import BYTES, ECHO, Client, Simulator, b64, numbers, tensor
from tests.rknn.functions.cases import IMAGE, OK, case, expected_of_floats


@case
def init(portable: Client) -> None:
    made = portable.result("rknn.init", {"model": {"data": b64(floats())}})
    assert made == {**OK, "context": made["context"], "n_input": 1, "n_output": 1}
    assert [item["context"] for item in portable.result("server.status")["contexts"]] == [made["context"]]
    assert portable.infer(tensor(IMAGE))[0].tobytes() == expected_of_floats().tobytes()


@case
def dup_context(portable: Client) -> None:
    first = portable.load(floats())
    made = portable.result("rknn.dup_context", {"context_in": first})
    assert made == {**OK, "context": made["context"], "n_input": 1, "n_output": 1}
    assert made["context"] != first
    portable.result("rknn.destroy", {"context": first})
    assert portable.infer(tensor(IMAGE), made["context"])[0].tobytes() == expected_of_floats().tobytes()


@case
def destroy(portable: Client) -> None:
    context = portable.load(floats())
    assert portable.result("rknn.destroy", {"context": context}) == OK
    assert portable.result("server.status")["contexts"] == []
    assert portable.refused("rknn.run", {"context": context})["kind"] == "InvalidHandle"
    assert portable.refused("rknn.run")["kind"] == "ModelNotInitialized"


@case
def query(portable: Client) -> None:
    portable.load(dynamic())
    assert portable.result("rknn.query", {"cmd": "RKNN_QUERY_IN_OUT_NUM"}) == {"n_input": 1, "n_output": 2}


@case
def inputs_set(portable: Client) -> None:
    portable.load(floats())
    for image in (IMAGE, IMAGE[:, ::-1]):
        assert portable.result("rknn.inputs_set", {"inputs": [{"buf": tensor(image)}]}) == OK
        portable.result("rknn.run")
        output = portable.result("rknn.outputs_get")["outputs"][0]
        assert numbers(output).tobytes() == expected_of_floats(image).tobytes()


@case
def set_batch_core_num(portable: Client) -> None:
    portable.load(floats())
    assert portable.result("rknn.set_batch_core_num", {"core_num": 3}) == OK
    refused = portable.refused("rknn.set_batch_core_num", {"core_num": 16})
    assert (refused["status_name"], refused["function"]) == ("RKNN_ERR_PARAM_INVALID", "rknn_set_batch_core_num")
    assert "core_num is 16" in refused["log"][-1], "the number arrives"


@case
def set_core_mask(portable: Client) -> None:
    portable.load(floats())
    for mask in (1, "RKNN_NPU_CORE_0_1_2"):
        assert portable.result("rknn.set_core_mask", {"core_mask": mask}) == OK
    refused = portable.refused("rknn.set_core_mask", {"core_mask": "RKNN_NPU_CORE_UNDEFINED"})
    assert "no core mask 65536" in refused["log"][-1], "the name becomes its number"


@case
def run(portable: Client) -> None:
    context = portable.load(floats())
    result = portable.result("rknn.run", {"context": context, "input_data": tensor(IMAGE), "outputs": True})
    assert numbers(result["outputs"][0]).tobytes() == expected_of_floats().tobytes()
    assert [item["runs"] for item in portable.result("server.status")["contexts"]] == [1]


@case
def wait(simulator: Client, board: Simulator) -> None:
    simulator.load(ECHO)
    finished = len(board.seen("finished", "rknn_run"))
    simulator.result("rknn.run", {"input_data": b64(BYTES), "extend": {"non_block": 1}})
    assert len(board.seen("finished", "rknn_run")) == finished, "the run has only begun"
    assert simulator.result("rknn.wait")["success"] is True
    assert len(board.seen("finished", "rknn_run")) == finished + 1
    assert numbers(simulator.result("rknn.outputs_get")["outputs"][0]).tobytes() == BYTES


@case
def outputs_get(portable: Client) -> None:
    portable.load(floats())
    portable.result("rknn.run", {"input_data": tensor(IMAGE)})
    got = portable.result("rknn.outputs_get")
    (output,) = got["outputs"]
    assert got["success"] is True
    described = {name: output[name] for name in ("index", "name", "size", "dtype", "shape")}
    assert described == {"index": 0, "name": "y", "size": 128, "dtype": "float32", "shape": [1, 2, 4, 4]}
    assert numbers(output).tobytes() == expected_of_floats().tobytes()


@case
def outputs_release(simulator: Client, board: Simulator) -> None:
    simulator.load(ECHO)
    simulator.result("rknn.run", {"input_data": b64(BYTES)})
    simulator.result("rknn.outputs_get")
    released = len(board.seen("leave", "rknn_outputs_release"))
    assert simulator.result("rknn.outputs_release") == OK
    assert len(board.seen("leave", "rknn_outputs_release")) == released + 1
    assert simulator.result("rknn.outputs_release") == OK
    assert len(board.seen("leave", "rknn_outputs_release")) == released + 1, "nothing is released twice"


@case
def set_input_shape(portable: Client) -> None:
    portable.load(dynamic())
    assert portable.result("rknn.set_input_shape", {"attr": {"dims": [2, 5, 4, 3]}}) == OK
    given = np.arange(120, dtype=np.float32).reshape(2, 5, 4, 3)
    y, total = portable.infer(tensor(given))
    expected = reference(dynamic(), {"x": np.ascontiguousarray(given.transpose(0, 3, 1, 2))})
    assert (y.tobytes(), total.tobytes()) == (expected[0].tobytes(), expected[1].tobytes())


@case
def set_input_shapes(portable: Client) -> None:
    portable.load(dynamic())
    for height in (2, 7):
        assert portable.result("rknn.set_input_shapes", {"attr": [{"dims": [1, height, 4, 3]}]}) == OK
        attr = portable.result("rknn.query", {"cmd": "RKNN_QUERY_CURRENT_OUTPUT_ATTR", "index": 0})
        assert attr["dims"] == [1, 3, height, 4]
        assert portable.infer(tensor(np.ones((1, height, 4, 3), np.float32)))[0].shape == (1, 3, height, 4)

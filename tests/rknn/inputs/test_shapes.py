"""The shape of a result is what this run made, whatever the graph declares; nothing and scalars are shapes too."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from rkllmd.client import Client as PythonClient
from rkllmd.client import Tensor
from tests.daemon import Daemon
from tests.portable.rknn.graphs import model, reference
from tests.rknn.board import Array, Client, b64, numbers, shared, tensor

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
node = helper.make_node


def rows() -> bytes:
    """Keep the rows of [5, 4] in which a number is above 0.5."""
    nodes = [
        node("ReduceMax", ["x"], ["m"], axes=[1], keepdims=0),
        node("Greater", ["m", "half"], ["c"]),
        node("Compress", ["x", "c"], ["y"], axis=0),
    ]
    return model(nodes, {"x": (FLOAT, [5, 4])}, {"y": (FLOAT, ["n", 4])}, {"half": np.array(0.5, np.float32)})


def relu(inputs: list[Any], outputs: list[Any] | None) -> bytes:
    return model([node("Relu", ["x"], ["y"])], {"x": (FLOAT, inputs)}, {"y": (FLOAT, outputs)})


def scaled() -> bytes:
    """Multiply x by k, and add it all up to s; k and s are scalars."""
    nodes = [node("Mul", ["x", "k"], ["y"]), node("ReduceSum", ["y"], ["s"], keepdims=0)]
    return model(nodes, {"x": (FLOAT, [3]), "k": (FLOAT, [])}, {"y": (FLOAT, [3]), "s": (FLOAT, [])})


def cache() -> bytes:
    """Append x to what is past, as a decoder does with its keys."""
    nodes = [node("Concat", ["past", "x"], ["present"], axis=1)]
    return model(nodes, {"past": (FLOAT, [1, "p", 4]), "x": (FLOAT, [1, 1, 4])}, {"present": (FLOAT, [1, "q", 4])})


def current(wire: Client, index: int = 0) -> list[int]:
    found: list[int] = wire.result("rknn.query", {"cmd": "RKNN_QUERY_CURRENT_OUTPUT_ATTR", "index": index})["dims"]
    return found


def check(wire: Client, content: bytes, feeds: dict[str, Array], **params: Any) -> None:
    """Run in every way to get outputs; all must be as ONNX Runtime's, and rknn.query must know their shapes then."""
    expected = reference(content, feeds)
    inputs = [{"buf": tensor(values), "fmt": "RKNN_TENSOR_NCHW"} for values in feeds.values()]
    given = {"inputs": inputs, **params}
    in_base64 = wire.result("rknn.infer", given)["outputs"]
    in_numbers = wire.result("rknn.infer", {**given, "encoding": "array"})["outputs"]
    wire.result("rknn.run", given)
    run_alone = wire.result("rknn.outputs_get")["outputs"]
    wire.result("rknn.run", {**given, "extend": {"non_block": 1}})
    wire.result("rknn.wait")
    waited = [current(wire, index) for index in range(len(expected))]
    for index, values in enumerate(expected):
        shape = list(values.shape)
        assert numbers(in_base64[index]).tobytes() == values.tobytes()
        for output in (in_base64[index], in_numbers[index], run_alone[index]):
            assert (output["shape"], output["size"]) == (shape, values.nbytes)
        assert len(in_numbers[index]["data"]) == values.size
        assert waited[index] == current(wire, index) == shape


def test_the_number_of_rows_is_this_runs(portable: Client) -> None:
    portable.load(rows())
    for count in (4, 0, 2, 5, 1):
        given = np.zeros((5, 4), np.float32)
        given[:count, 1] = 1
        check(portable, rows(), {"x": given})
        assert current(portable) == [count, 4]


@pytest.mark.parametrize("declared", [[1, 4], None, ["n", 4], [None, None], [4, 3], [3, 4, 1]])
def test_what_a_graph_declares_wrongly_or_not_at_all(portable: Client, declared: list[Any] | None) -> None:
    content = relu(["b", 4], declared)
    answer = portable.ask("rknn.init", {"model": {"data": b64(content)}})
    if "error" in answer:  # ONNX Runtime itself refuses such a graph, or takes it, as its version is
        assert answer["error"]["data"]["status_name"] == "RKNN_ERR_MODEL_INVALID"
        return
    for count in (3, 1, 0, 3):
        portable.result("rknn.set_input_shapes", {"attr": [{"dims": [count, 4]}]})
        check(portable, content, {"x": np.ones((count, 4), np.float32)})


def test_an_input_of_no_rank_takes_the_shape_that_is_set(portable: Client) -> None:
    content = model([node("Relu", ["x"], ["y"])], {"x": (FLOAT, None)}, {"y": (FLOAT, None)})
    portable.load(content)
    for shape in ([2, 3], [], [4], [1, 2, 3, 4, 5], [0, 2]):
        portable.result("rknn.set_input_shapes", {"attr": [{"dims": shape}]})
        check(portable, content, {"x": np.ones(shape, np.float32)})


def detections() -> tuple[bytes, dict[str, Array]]:
    """Non-maximum suppression: as many rows as boxes remain."""
    constants: dict[str, Array] = {"most": np.array([10], np.int64), "overlap": np.array([0.5], np.float32)}
    constants["score"] = np.array([0.4], np.float32)
    content = model(
        [node("NonMaxSuppression", ["boxes", "scores", "most", "overlap", "score"], ["y"])],
        {"boxes": (FLOAT, [1, 3, 4]), "scores": (FLOAT, [1, 1, 3])},
        {"y": (INT64, ["n", 3])},
        constants,
    )
    boxes = np.array([[[0, 0, 1, 1], [0, 0, 1, 1.1], [0, 5, 1, 6]]], np.float32)
    return content, {"boxes": boxes, "scores": np.array([[[0.9, 0.8, 0.7]]], np.float32)}


def non_zero() -> tuple[bytes, dict[str, Array]]:
    content = model([node("NonZero", ["x"], ["y"])], {"x": (FLOAT, [2, 3])}, {"y": (INT64, [2, "n"])})
    return content, {"x": np.array([[1, 0, 2], [0, 0, 3]], np.float32)}


def top() -> tuple[bytes, dict[str, Array]]:
    inputs: dict[str, Any] = {"x": (FLOAT, [2, 5]), "k": (INT64, [1])}
    content = model([node("TopK", ["x", "k"], ["y", "i"])], inputs, {"y": (FLOAT, [2, "k"]), "i": (INT64, [2, "k"])})
    return content, {"x": np.arange(10, dtype=np.float32).reshape(2, 5), "k": np.array([3])}


def resized() -> tuple[bytes, dict[str, Array]]:
    inputs: dict[str, Any] = {"x": (FLOAT, [1, 1, 2, 2]), "sizes": (INT64, [4])}
    content = model([node("Resize", ["x", "", "", "sizes"], ["y"])], inputs, {"y": (FLOAT, None)})
    return content, {"x": np.ones((1, 1, 2, 2), np.float32), "sizes": np.array([1, 1, 3, 5])}


@pytest.mark.parametrize("made", [detections, non_zero, top, resized])
def test_shapes_that_follow_from_values(portable: Client, made: Callable[[], tuple[bytes, dict[str, Array]]]) -> None:
    content, feeds = made()
    portable.load(content)
    check(portable, content, feeds)
    # And where there is nothing: no detections, no elements.
    nothing = {name: values * 0 if values.dtype == np.float32 else values for name, values in feeds.items()}
    check(portable, content, nothing)
    check(portable, content, feeds)


def test_a_shape_of_as_many_bytes_is_not_taken_for_the_one_before(portable: Client) -> None:
    inputs: dict[str, Any] = {"x": (FLOAT, [2, 6]), "shape": (INT64, [2])}
    content = model([node("Reshape", ["x", "shape"], ["y"])], inputs, {"y": (FLOAT, [None, None])})
    portable.load(content)
    for shape in ([3, 4], [12, 1], [4, 3]):
        check(portable, content, {"x": np.ones((2, 6), np.float32), "shape": np.array(shape)})
        assert current(portable) == shape


def test_what_is_written_into_memories_has_its_shape_told_too(portable: Client) -> None:
    portable.load(rows())
    given = np.eye(5, 4, dtype=np.float32)
    mem = portable.memory(None, bytes(80))
    portable.result("rknn.set_io_mem", {"mem": mem, "attr": {"name": "y"}})
    portable.result("rknn.run", {"inputs": tensor(given)})
    assert current(portable) == [4, 4]
    assert portable.contents(mem, size=64) == given[:4].tobytes()
    with shared(bytes(80)) as fd:
        request = {"outputs": [{"index": 0, "buf": {"fd": 0}}]}
        (output,) = portable.result("rknn.outputs_get", request, fds=[fd])["outputs"]
        assert (output["shape"], output["size"]) == ([4, 4], 64)
    with shared(bytes(60)) as fd:  # less than this run made
        data = portable.refused("rknn.outputs_get", request, fds=[fd])
        assert (data["path"], data["limit"]) == ("$.outputs[0].buf", 64)


def test_a_script_may_ask_for_the_shape_behind_the_run_that_makes_it(portable: Client) -> None:
    """Load, run and question in one go: the question is not answered before the run."""
    given = {"data": b64(np.eye(5, 4, dtype=np.float32)), "dtype": "float32"}
    lines = [
        ("rknn.init", {"model": {"data": b64(rows())}}),
        ("rknn.infer", {"inputs": given}),
        ("rknn.query", {"cmd": "RKNN_QUERY_CURRENT_OUTPUT_ATTR"}),
    ]
    for call_id, (method, params) in enumerate(lines, 1):
        portable.request(method, params, call_id)
    assert portable.final(3)["result"]["dims"] == [4, 4]
    portable.request("rknn.infer", {"inputs": {**given, "data": b64(bytes(80))}}, 4)
    portable.request("rknn.query", {"cmd": "RKNN_QUERY_CURRENT_OUTPUT_ATTR"}, 5)
    assert portable.final(5)["result"]["dims"] == [0, 4]


def test_more_dimensions_than_rknn_has_are_refused_in_a_sentence(portable: Client) -> None:
    inputs: dict[str, Any] = {"x": (FLOAT, [1]), "shape": (INT64, ["n"])}
    portable.load(model([node("Expand", ["x", "shape"], ["y"])], inputs, {"y": (FLOAT, None)}))
    portable.result("rknn.set_input_shapes", {"attr": [{"dims": [1]}, {"dims": [17]}]})
    given = [{"buf": [1]}, {"buf": [1] * 17}]
    data = portable.refused("rknn.infer", {"inputs": given})
    assert data["kind"] == "RuntimeError"
    assert "y has 17 dimensions" in data["message"]


def test_scalars_in_every_form(portable: Client) -> None:
    portable.load(scaled())
    two = np.float32(2)
    check(portable, scaled(), {"x": np.ones(3, np.float32), "k": np.array(2, np.float32)})
    forms: list[Any] = [2, 2.0, [2], tensor(np.array(two)), {"data": b64(two.tobytes()), "dtype": "float32"}]
    forms += [b64(two.tobytes()), {"data": 2, "shape": []}, {"data": [2], "shape": []}]
    for form in forms:
        outputs = portable.infer([{"buf": [1, 1, 1]}, {"buf": form}])
        assert [(output.shape, output.tolist()) for output in outputs] == [((3,), [2, 2, 2]), ((), 6)], form
    beside: list[Any] = [[[1, 1, 1], 2], [tensor(np.ones(3, np.float32)), 2], [b64(np.ones(3, np.float32)), 2.0]]
    for inputs in beside:
        assert portable.infer(inputs)[1].tolist() == 6, inputs
    with shared(two.tobytes()) as fd:
        given = [{"buf": [1, 1, 1]}, {"buf": {"fd": 0, "dtype": "float32", "shape": []}}]
        answer = portable.result("rknn.infer", {"inputs": given}, fds=[fd], reply_fds=True)
    assert [(output["shape"], output["size"]) for output in answer["outputs"]] == [([3], 12), ([], 4)]
    portable.result("rknn.destroy")
    portable.load(model([node("Not", ["x"], ["y"])], {"x": (BOOL, [])}, {"y": (BOOL, [])}))
    assert portable.infer(True)[0].tolist() is False


def test_a_scalar_that_is_converted_stays_one(portable: Client) -> None:
    content = model([node("Shape", ["x"], ["y"])], {"x": (TensorProto.INT32, [])}, {"y": (INT64, [0])})
    portable.load(content)
    assert portable.infer([{"buf": tensor(np.array(5, np.float32))}])[0].shape == (0,)


def test_an_empty_cache_grows_from_nothing(portable: Client) -> None:
    portable.load(cache())
    past = np.zeros((1, 0, 4), np.float32)
    for step in range(3):
        portable.result("rknn.set_input_shapes", {"attr": [{"dims": list(past.shape)}, {"dims": [1, 1, 4]}]})
        assert portable.result("rknn.query", {"cmd": "RKNN_QUERY_CURRENT_INPUT_ATTR"})["dims"] == list(past.shape)
        x = np.full((1, 1, 4), step, np.float32)
        check(portable, cache(), {"past": past, "x": x})
        past = portable.infer([{"buf": tensor(past)}, {"buf": tensor(x)}])[0]
    assert past[0, :, 0].tolist() == [0, 1, 2]


def test_nothing_in_every_form(portable: Client) -> None:
    portable.load(relu(["n", 4], ["n", 4]))
    portable.result("rknn.set_input_shapes", {"attr": [{"dims": [0, 4]}]})
    empty: list[Any] = [[], [[]], "", {"data": ""}, {"data": [], "shape": [0, 4]}]
    for form in [*empty, tensor(np.zeros((0, 4), np.float32))]:
        assert portable.infer([{"buf": form}])[0].shape == (0, 4), form
    with shared(b"") as fd:
        given = {"fd": 0, "dtype": "float32", "shape": [0, 4]}
        (output,) = portable.result("rknn.infer", {"inputs": given}, fds=[fd], reply_fds=True)["outputs"]
    # By descriptor, as every other: there is nothing to be mapped.
    assert (output["fd"], output["size"], output["shape"]) == (0, 0, [0, 4])
    assert len(portable.descriptors) == 1
    assert portable.result("rknn.infer", {"inputs": [{"buf": []}], "top_k": 3})["outputs"][0]["top"] == []


def test_the_python_client_sends_and_gets_nothing_and_scalars(portable_daemon: Daemon) -> None:
    with PythonClient(portable_daemon.path) as client:

        def infer(content: bytes, shapes: list[list[int]], *arrays: Any) -> list[Array]:
            context = client.call("rknn.init", {"model": content})["context"]
            client.call("rknn.set_input_shapes", {"attr": [{"dims": shape} for shape in shapes], "ctx": context})
            given = {"inputs": [{"buf": values} for values in arrays], "context": context}
            outputs = client.call("rknn.infer", given, reply_fds=True)["outputs"]
            client.call("rknn.destroy", {"context": context})
            return [np.frombuffer(item["data"], item["dtype"]).reshape(item["shape"]) for item in outputs]

        assert infer(relu(["n", 4], None), [[0, 4]], np.zeros((0, 4), np.float32))[0].shape == (0, 4)
        one = np.ones((1, 1, 4), np.float32)
        assert infer(cache(), [[1, 0, 4], [1, 1, 4]], np.zeros((1, 0, 4), np.float32), one)[0].tolist() == one.tolist()
        ones = np.ones(3, np.float32)
        scalars: list[Any] = [np.float32(2), np.array(2, np.float32), 2, Tensor(np.float32(2), "float32", [])]
        for scalar in scalars:
            product, total = infer(scaled(), [[3], []], ones, scalar)
            assert (product.tolist(), total.shape, total.tolist()) == ([2, 2, 2], (), 6)
            context = client.call("rknn.init", {"model": scaled()})["context"]
            both = {"context": context, "inputs": [ones, scalar], "encoding": "array"}
            assert client.call("rknn.infer", both)["outputs"][1]["data"] == [6]
            client.call("rknn.destroy", {"context": context})
        assert infer(scaled(), [[3], []], ones, np.float32(np.inf))[1] == np.inf  # JSON has no such number


def test_the_simulators_attributes_stay_those_of_its_shapes(simulator: Client) -> None:
    """An NPU's program is made for the shapes of its inputs: nothing is asked after a run."""
    simulator.load(b"RKNNSIM\ninput name=x type=uint8 dims=8\noutput name=y type=uint8 dims=8\n")
    (output,) = simulator.result("rknn.infer", {"inputs": b64(bytes(8))})["outputs"]
    assert (output["shape"], current(simulator)) == ([8], [8])
    assert json.dumps(output)

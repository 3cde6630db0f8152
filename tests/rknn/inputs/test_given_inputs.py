"""What stands in "inputs": one tensor or one for each input, in every form; and errors name what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from rkllmd.client import Client as PythonClient
from tests.daemon import Daemon
from tests.portable.rknn.graphs import constant, dynamic, floats, identity, sums, with_weights_beside
from tests.rknn.board import Client, b64, shared, tensor

A, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([7, 8, 9], np.int64)
TWO = sums([TensorProto.FLOAT, TensorProto.INT64], [[2, 3], [3]])


def totals(wire: Client, inputs: Any, **params: Any) -> list[float]:
    answer = wire.result("rknn.infer", {"inputs": inputs, "encoding": "array", **params})
    return [np.ravel(output["data"])[0] for output in answer["outputs"]]


# What an array is


@pytest.mark.parametrize(
    "inputs",
    [
        [tensor(A), tensor(B)],
        [A.tolist(), B.tolist()],
        [A.ravel().tolist(), tensor(B)],
        [b64(A), b64(B)],
        [{"data": A.tolist(), "shape": [2, 3]}, {"data": b64(B), "dtype": "int64"}],
        [{"buf": tensor(A)}, tensor(B)],
        [{"index": 1, "buf": tensor(B)}, {"index": 0, "buf": A.tolist()}],
        [{"data": b64(B), "index": 1}, {"data": b64(A), "index": 0}],
    ],
    ids=["tensors", "arrays", "both", "base64", "objects", "mixed", "rknn_inputs", "data for buf"],
)
def test_an_array_of_one_for_each_input(portable: Client, inputs: Any) -> None:
    portable.load(TWO)
    assert totals(portable, inputs) == [15, 24]
    portable.result("rknn.run", {"inputs": inputs})
    portable.result("rknn.run", {"input_data": inputs})
    for params in ({"inputs": inputs}, [None, inputs]):
        portable.result("rknn.inputs_set", params)
        portable.result("rknn.run")
        outputs = portable.result("rknn.outputs_get", {"encoding": "array"})["outputs"]
        assert [np.ravel(output["data"])[0] for output in outputs] == [15, 24]


def test_descriptors_and_memories_beside_each_other(portable: Client) -> None:
    context = portable.load(TWO)
    mem = portable.memory(context, B.tobytes())
    with shared(A.tobytes()) as fd:
        inputs = [{"fd": 0, "dtype": "float32"}, {"mem": mem, "dtype": "int64"}]
        answer = portable.result("rknn.infer", {"inputs": inputs, "encoding": "array"}, fds=[fd])
    assert [np.ravel(output["data"])[0] for output in answer["outputs"]] == [15, 24]


def test_an_array_of_rows_is_still_one_tensor(portable: Client) -> None:
    portable.load(identity(TensorProto.FLOAT, [2, 3]))
    for inputs in (A.tolist(), [A.tolist()], A.ravel().tolist(), [tensor(A)], [b64(A)], tensor(A)):
        (found,) = portable.infer(inputs)
        assert found.tolist() == A.tolist()
        portable.result("rknn.inputs_set", {"inputs": inputs})
    portable.load(identity(TensorProto.FLOAT, [1000]))
    context = portable.result("server.status")["contexts"][-1]["context"]
    portable.result("rknn.inputs_set", {"context": context, "inputs": [0.5] * 1000})


def test_scalars_beside_each_other(portable: Client) -> None:
    portable.load(sums([TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT32], [[1], [2], [1]]))
    assert totals(portable, [[5], [1, 2], [7]]) == [5, 3, 7]
    portable.load(sums([TensorProto.FLOAT, TensorProto.INT32], [[1], [1]]), keep=False)
    context = portable.result("server.status")["contexts"][-1]["context"]
    assert totals(portable, [5, 7], context=context) == [5, 7]


def test_numpy_arrays_beside_each_other(portable_daemon: Daemon) -> None:
    with PythonClient(portable_daemon.path) as client:
        context = client.call("rknn.init", {"model": {"data": b64(TWO)}})["context"]
        result = client.call("rknn.infer", {"context": context, "inputs": [A, B]}, reply_fds=True)
        assert [np.frombuffer(output["data"], np.float32)[0] for output in result["outputs"]] == [15, 24]


def test_more_arrays_than_a_message_brings_descriptors(portable_daemon: Daemon) -> None:
    shapes = [[3, 5 + index] for index in range(40)]
    model = sums([TensorProto.FLOAT] * 40, shapes)
    arrays = [np.full(shape, index, np.float32) for index, shape in enumerate(shapes)]
    with PythonClient(portable_daemon.path) as client:
        context = client.call("rknn.init", {"model": {"data": b64(model)}})["context"]
        for count in (40, 40, 16, 17):
            given = {"context": context, "inputs": arrays[:count] if count == 40 else arrays}
            result = client.call("rknn.infer", given, reply_fds=True)
            found = [np.frombuffer(output["data"], np.float32)[0] for output in result["outputs"]]
            assert found == [array.sum() for array in arrays]
        with pytest.raises(ValueError, match="17 descriptors are more than a message brings, 16"):
            client.call("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=[0] * 17)
        assert client.call("server.status")["contexts"], "the connection is as good as before"


# A model without inputs


@pytest.mark.parametrize("runtime", ["portable", "simulator"])
@pytest.mark.parametrize("params", [{}, {"inputs": []}, {"inputs": None}])
def test_a_model_without_inputs_runs(request: pytest.FixtureRequest, runtime: str, params: dict[str, Any]) -> None:
    wire = request.getfixturevalue(runtime)
    wire.load(constant() if runtime == "portable" else b"RKNNSIM\noutput name=y type=uint8 dims=3\n")
    for method in ("rknn.infer", "rknn.run"):
        more = {"outputs": True} if method == "rknn.run" else {}
        (output,) = wire.result(method, {**params, **more, "encoding": "array"})["outputs"]
        assert output["data"] == [0, 1, 2]


def test_a_model_with_inputs_needs_them(portable: Client) -> None:
    portable.load(floats())
    refused = portable.refused("rknn.infer")
    assert (refused["path"], refused["keyword"]) == ("$.inputs", "required")
    assert portable.refused("rknn.infer", {"inputs": []})["path"] == "$.inputs"


# What errors name


@pytest.mark.parametrize(
    ("inputs", "path"),
    [
        ([1, 2], "$.inputs"),
        (["AAAA", tensor(B)], "$.inputs[0]"),
        ([A.tolist(), [1, 2]], "$.inputs[1]"),
        ([A.tolist(), [1, 2, "x"]], "$.inputs[1][2]"),
        ([tensor(A), {"data": "!", "dtype": "int64"}], "$.inputs[1].data"),
        ([tensor(A), {"data": b64(B), "dtype": "int65"}], "$.inputs[1].dtype"),
        ([tensor(A), {"data": b64(B), "shape": [4], "dtype": "int64"}], "$.inputs[1]"),
        ([{"data": "!", "index": 0}], "$.inputs[0].data"),
        ([{"buf": "!"}], "$.inputs[0].buf"),
        ([{"index": 9, "buf": "AAAA"}], "$.inputs[0].index"),
        ([{"index": 0}], "$.inputs[0].buf"),
        ([{"index": 0, "buf": b64(A), "data": b64(A)}], "$.inputs[0].data"),
        ([tensor(A), tensor(B), tensor(B)], "$.inputs"),
        ({"datta": "AAAA"}, "$.inputs"),
    ],
)
def test_an_error_names_what_was_written(portable: Client, inputs: Any, path: str) -> None:
    portable.load(TWO)
    for name in ("inputs", "input_data"):
        refused = portable.refused("rknn.infer", {name: inputs})
        expected = path.replace("inputs", name)
        # An element of an array may be named by the array.
        assert refused["path"] in (expected, expected.rpartition("[")[0]), refused
        assert "buf" not in refused["message"] or "buf" in str(inputs) or refused["keyword"] in ("required", "oneOf")


def test_nested_numbers_in_another_order_have_no_shape_of_their_own(portable: Client) -> None:
    portable.load(identity(TensorProto.FLOAT, [2, 3, 4, 5]))
    refused = portable.refused("rknn.infer", {"inputs": np.zeros((5, 3, 4, 2)).tolist()})
    assert (refused["path"], refused["keyword"]) == ("$.inputs", "shape")
    refused = portable.refused("rknn.infer", {"inputs": tensor(np.zeros((5, 3, 4, 2), np.float32))})
    assert refused["path"] == "$.inputs.shape"


def test_an_error_names_the_position_the_other_name_and_the_flat_field(portable: Client) -> None:
    context = portable.load(floats())
    mem = portable.memory(context, bytes(3))
    for params, path in (
        ([context, mem, {"index": 0}], "$[1]"),
        ({"ctx": context, "mem": mem, "attr": {"index": 0}}, "$.mem"),
        ({"context": context, "mem": mem, "index": 0}, "$.mem"),
        ([context, mem, {"index": 5}], "$[2].index"),
        ({"mem": mem, "index": 5}, "$.index"),
        ({"mem": mem, "attr": {"index": 0, "h_stride": 1, "n_dims": 7}}, "$.attr.n_dims"),
        ({"mem": mem, "n_dims": 7}, "$.n_dims"),
    ):
        refused = portable.refused("rknn.set_io_mem", params)
        assert refused["path"] == path
        assert path in refused["message"]
    assert portable.refused("rknn.query", [context, 1, {"index": 5}])["path"] == "$.index"
    refused = portable.refused("rknn.mem_sync", {"mem": mem, "mode": 2, "read": True, "dtype": "int16"})
    assert refused["path"] == "$.dtype"
    assert portable.refused("rknn.init", ["/nowhere.onnx"])["path"] == "$[0]"


# Shapes that may be set


def test_data_of_another_size_says_how_to_set_the_shape(portable: Client, simulator: Client) -> None:
    picture = tensor(np.zeros((1, 8, 8, 3), np.float32))
    first = portable.load(dynamic())
    refused = portable.refused("rknn.infer", {"inputs": picture})
    assert "rknn.set_input_shapes" in refused["message"]
    portable.result("rknn.destroy", {"context": first})
    static = portable.load(floats())
    refused = portable.refused("rknn.infer", {"inputs": picture})
    assert "rknn.set_input_shapes" not in refused["message"]
    portable.result("rknn.destroy", {"context": static})
    portable.load(dynamic({"rknn_dynamic_shapes": "[[[1, 3, 2, 4]], [[2, 3, 5, 4]]]"}))
    refused = portable.refused("rknn.infer", {"inputs": picture})
    assert "Its shapes are [1, 2, 4, 3], [2, 5, 4, 3]: choose one with rknn.set_input_shapes" in refused["message"]

    simulator.load(b"RKNNSIM\ninput name=x type=int8 dims=1,4,4,3|1,8,8,3\noutput name=y type=int8 dims=4\n")
    refused = simulator.refused("rknn.infer", {"inputs": tensor(np.zeros(5, np.int8))})
    assert "rknn.set_input_shapes" in refused["message"]
    fixed = simulator.load(b"RKNNSIM\ninput name=x type=int8 dims=4\noutput name=y type=int8 dims=4\n")
    refused = simulator.refused("rknn.infer", {"context": fixed, "inputs": tensor(np.zeros(5, np.int8))})
    assert "rknn.set_input_shapes" not in refused["message"]


# Weights beside the model


def test_a_model_with_weights_beside_it_comes_by_its_path(portable: Client, tmp_path: Path) -> None:
    model = with_weights_beside()
    refused = portable.refused("rknn.init", {"model": {"data": b64(model)}})
    assert refused["status_name"] == "RKNN_ERR_MODEL_INVALID"
    assert "give the path of the model's file" in refused["message"]
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    (tmp_path / "weights.data").write_bytes(np.arange(300, dtype=np.float32).tobytes())
    portable.load(path)
    (found,) = portable.infer(tensor(np.zeros(300, np.float32)))
    assert found.tolist() == list(range(300))

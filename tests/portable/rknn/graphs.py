"""Small ONNX models, written here, and what ONNX Runtime itself makes of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]

# As what numpy has the elements of a graph.
NUMPY_TYPES: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.INT8: np.int8,
    TensorProto.UINT8: np.uint8,
    TensorProto.INT16: np.int16,
    TensorProto.UINT16: np.uint16,
    TensorProto.INT32: np.int32,
    TensorProto.UINT32: np.uint32,
    TensorProto.INT64: np.int64,
    TensorProto.BOOL: np.bool_,
}

INPUT_SCALE, INPUT_ZERO = 0.05, -3
FEATURE_SCALE, FEATURE_ZERO = 0.1, 7


def model(
    nodes: list[Any],
    inputs: dict[str, tuple[int, list[Any] | None]],
    outputs: dict[str, tuple[int, list[Any] | None]],
    constants: dict[str, Array] | None = None,
    metadata: dict[str, str] | None = None,
) -> bytes:
    """Return the bytes of a model; inputs and outputs are name → (ONNX type, shape)."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(made, metadata or {})
    # Its checker wants a shape of everything; ONNX Runtime doesn't, and exporters leave shapes out.
    if all(shape is not None for _, shape in [*inputs.values(), *outputs.values()]):
        onnx.checker.check_model(made)
    content: bytes = made.SerializeToString()
    return content


def reference(content: bytes, feeds: dict[str, Array]) -> list[Array]:
    """Return ONNX Runtime's own outputs."""
    outputs: list[Array] = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, feeds)
    return outputs


def quantised() -> bytes:
    """Int8 [1, 3, 6, 5] → QLinearConv → int8 "feature" [1, 20, 6, 5], and its softmax, float32 "scores"."""
    rng = np.random.default_rng(1)
    constants = {
        "xs": np.float32(INPUT_SCALE),
        "xz": np.int8(INPUT_ZERO),
        "w": rng.integers(-90, 90, (20, 3, 3, 3), dtype=np.int8),
        "ws": np.float32(0.02),
        "wz": np.int8(0),
        "ys": np.float32(FEATURE_SCALE),
        "yz": np.int8(FEATURE_ZERO),
    }
    nodes = [
        helper.make_node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["feature"], pads=[1, 1, 1, 1]),
        helper.make_node("DequantizeLinear", ["feature", "ys", "yz"], ["real"]),
        helper.make_node("Relu", ["real"], ["positive"]),
        helper.make_node("Softmax", ["positive"], ["scores"], axis=1),
    ]
    metadata = {
        "rknn_quant": json.dumps({"x": [INPUT_SCALE, INPUT_ZERO], "feature": [FEATURE_SCALE, FEATURE_ZERO]}),
        "custom_string": "made for a test: é",
    }
    return model(
        nodes,
        {"x": (TensorProto.INT8, [1, 3, 6, 5])},
        {"feature": (TensorProto.INT8, [1, 20, 6, 5]), "scores": (TensorProto.FLOAT, [1, 20, 6, 5])},
        {name: np.asarray(value) for name, value in constants.items()},
        metadata,
    )


def floats() -> bytes:
    """Float32 [1, 3, 4, 4] → Conv → Relu → float32 "y" [1, 2, 4, 4]."""
    weights = np.random.default_rng(2).standard_normal((2, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    return model(
        nodes, {"x": (TensorProto.FLOAT, [1, 3, 4, 4])}, {"y": (TensorProto.FLOAT, [1, 2, 4, 4])}, {"w": weights}
    )


def identity(kind: int, shape: list[Any], metadata: dict[str, str] | None = None) -> bytes:
    """One input "x" that becomes the output "y"."""
    return model(
        [helper.make_node("Identity", ["x"], ["y"])], {"x": (kind, shape)}, {"y": (kind, shape)}, None, metadata
    )


def dynamic(metadata: dict[str, str] | None = None) -> bytes:
    """Float32 ["n", 3, "h", 4] → "y" of the same shape, and "total" whose shape no name tells, [n * 2, 3]."""
    nodes = [
        helper.make_node("Abs", ["x"], ["y"]),
        helper.make_node("ReduceSum", ["y", "axes"], ["sums"], keepdims=0),
        helper.make_node("Concat", ["sums", "sums"], ["total"], axis=0),
    ]
    shape = ["n", 3, "h", 4]
    return model(
        nodes,
        {"x": (TensorProto.FLOAT, shape)},
        {"y": (TensorProto.FLOAT, shape), "total": (TensorProto.FLOAT, ["twice", 3])},
        {"axes": np.array([2, 3], np.int64)},
        metadata,
    )


def gather() -> bytes:
    """Int64 indices [2] into three floats: fails in a run with an index out of range."""
    return model(
        [helper.make_node("Gather", ["data", "x"], ["y"])],
        {"x": (TensorProto.INT64, [2])},
        {"y": (TensorProto.FLOAT, [2])},
        {"data": np.array([1, 2, 3], np.float32)},
    )


def slow() -> bytes:
    """Float32 [500, 500] through so many products of matrices that a run takes some tenths of a second."""
    count = 40
    nodes = [helper.make_node("MatMul", [f"x{i}" if i else "x", "w"], [f"x{i + 1}"]) for i in range(count)]
    weights = np.eye(500, dtype=np.float32)
    return model(
        nodes,
        {"x": (TensorProto.FLOAT, [500, 500])},
        {f"x{count}": (TensorProto.FLOAT, [500, 500])},
        {"w": weights},
    )


def _loop(condition: str) -> Any:
    """Return a Loop that hands "x" on to "y" as long as its condition holds, which never changes."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_in"], ["go_out"]), helper.make_node("Identity", ["v_in"], ["v_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, None),
        ],
    )
    return helper.make_node("Loop", ["", condition, "x"], ["y"], body=body)


def forever() -> bytes:
    """Bool "go" and float32 "x" [1]: runs for ever where "go" is true, else "y" is "x"."""
    return model(
        [_loop("go")],
        {"go": (TensorProto.BOOL, []), "x": (TensorProto.FLOAT, [1])},
        {"y": (TensorProto.FLOAT, [1])},
    )


def forever_on_zeros() -> bytes:
    """As ``forever``, but where "go" is false, and with a shape of "y" that only a run tells."""
    return model(
        [helper.make_node("Not", ["go"], ["stay"]), _loop("stay")],
        {"go": (TensorProto.BOOL, []), "x": (TensorProto.FLOAT, ["k"])},
        {"y": (TensorProto.FLOAT, ["m"])},
    )


def sums(kinds: list[int], shapes: list[list[Any]]) -> bytes:
    """Return a model of inputs "x0", "x1" and so on, whose outputs "y0", "y1" are the sum of each as float32."""
    nodes = []
    for index in range(len(kinds)):
        nodes.append(helper.make_node("Cast", [f"x{index}"], [f"f{index}"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("ReduceSum", [f"f{index}"], [f"y{index}"], keepdims=0))
    return model(
        nodes,
        {f"x{index}": (kind, shape) for index, (kind, shape) in enumerate(zip(kinds, shapes, strict=True))},
        {f"y{index}": (TensorProto.FLOAT, []) for index in range(len(kinds))},
    )


def constant() -> bytes:
    """No inputs; "y" is 0, 1, 2 as float32."""
    value = numpy_helper.from_array(np.arange(3, dtype=np.float32))
    return model([helper.make_node("Constant", [], ["y"], value=value)], {}, {"y": (TensorProto.FLOAT, [3])})


def with_weights_beside() -> bytes:
    """Float32 "x" [300] plus weights that are in the file "weights.data" beside the model's."""
    made = onnx.load_from_string(
        model(
            [helper.make_node("Add", ["x", "w"], ["y"])],
            {"x": (TensorProto.FLOAT, [300])},
            {"y": (TensorProto.FLOAT, [300])},
            {"w": np.arange(300, dtype=np.float32)},
        )
    )
    (weights,) = made.graph.initializer
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.data"), ("offset", "0"), ("length", "1200")):
        weights.external_data.add(key=key, value=value)
    content: bytes = made.SerializeToString()
    return content

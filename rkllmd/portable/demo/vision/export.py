"""Writes the classifier and the encoder as ONNX files, quantised as a model is that was converted for the NPU.

The graphs take int8 pictures. Weights are int8 with one scale per output channel; what is computed between them is
floats, so that nothing is lost and any runtime can do it.
"""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from torch import Tensor

from rkllmd.json_types import JsonObject
from rkllmd.portable.demo.vision.draw import SIZE
from rkllmd.portable.demo.vision.network import MEAN, SPREAD, STRIDES, Network

LABELS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LICENSE = "CC0-1.0"
# Pixels of 0 to 255 become -128 to 127 without loss, and a probability of 1 becomes 127.
PIXELS = (1.0, -128)
PROBABILITIES = (1 / 255, -128)
# Turns "probably a three" into almost exactly "a three": the language model has only learned to read pure digits.
SHARPNESS = 12.0
_OPSET, _IR_VERSION = 17, 8  # old enough for every ONNX Runtime since 1.12


class _Graph:
    """A graph that grows node by node; each method returns the name of the node's output."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, name: str, values: npt.ArrayLike) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: int | list[int]) -> str:
        # The attributes have none of the names that make_node's own parameters have.
        made = helper.make_node(kind, inputs, [output], name=output, **attributes)  # type: ignore[arg-type]
        self.nodes.append(made)
        return output

    def weight(self, name: str, tensor: Tensor) -> str:
        """Add a weight as int8, one scale for each output channel."""
        values = tensor.numpy()
        largest = np.abs(values.reshape(len(values), -1)).max(axis=1)
        scales = (np.maximum(largest, 1e-8) / 127).astype(np.float32)
        whole = np.rint(values / scales.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
        zeros = np.zeros(len(values), np.int8)
        inputs = [
            self.constant(f"{name}_int8", whole),
            self.constant(f"{name}_scales", scales),
            self.constant(f"{name}_zeros", zeros),
        ]
        return self.node("DequantizeLinear", inputs, name, axis=0)

    def quantisation(self, name: str, scale: float, zero_point: int) -> list[str]:
        return [
            self.constant(f"{name}_scale", np.float32(scale)),
            self.constant(f"{name}_zero_point", np.int8(zero_point)),
        ]


def _logits(graph: _Graph, network: Network) -> str:
    """Add what both models have in common: from the int8 picture to the logits."""
    x = graph.node("DequantizeLinear", ["image", *graph.quantisation("image", *PIXELS)], "pixels")
    x = graph.node("Sub", [x, graph.constant("mean", np.float32(MEAN))], "centred")
    x = graph.node("Div", [x, graph.constant("spread", np.float32(SPREAD))], "normalised")
    for number, ((weight, bias), stride) in enumerate(zip(network.folded(), STRIDES, strict=True), 1):
        inputs = [x, graph.weight(f"weight_{number}", weight), graph.constant(f"bias_{number}", bias.numpy())]
        x = graph.node("Conv", inputs, f"convolution_{number}", strides=[stride, stride], pads=[1, 1, 1, 1])
        x = graph.node("Relu", [x], f"features_{number}")
    x = graph.node("Flatten", [x], "flat")
    head = graph.weight("head", network.head.weight.detach())
    bias_of_head = graph.constant("head_bias", network.head.bias.detach().numpy())
    return graph.node("Gemm", [x, head, bias_of_head], "logits", transB=1)


def _write(path: Path, graph: _Graph, output: ValueInfoProto, metadata: JsonObject) -> None:
    image = helper.make_tensor_value_info("image", TensorProto.INT8, [1, 3, SIZE, SIZE])
    made = helper.make_graph(graph.nodes, path.stem, [image], [output], graph.constants)
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION, producer_name="rkllmd"
    )
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    helper.set_model_props(model, texts)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def export_classifier(path: Path, network: Network) -> None:
    """Write digits.onnx, and the labels beside it as digits.txt."""
    graph = _Graph()
    probabilities = graph.node("Softmax", [_logits(graph, network)], "probabilities", axis=1)
    graph.node("QuantizeLinear", [probabilities, *graph.quantisation("scores", *PROBABILITIES)], "scores")
    output = helper.make_tensor_value_info("scores", TensorProto.INT8, [1, len(LABELS)])
    quantisation = {"image": PIXELS, "scores": PROBABILITIES}
    _write(path, graph, output, {"labels": LABELS, "rknn_quant": quantisation, "license": LICENSE})
    path.with_suffix(".txt").write_text("".join(f"{label}\n" for label in LABELS))


def export_encoder(path: Path, network: Network, language_model: Path) -> None:
    """Write digits_encoder.onnx, whose output the language model reads in the place of the digit's token."""
    embeddings = digit_embeddings(language_model)
    graph = _Graph()
    sharpness = graph.constant("sharpness", np.float32(SHARPNESS))
    sharp = graph.node("Mul", [_logits(graph, network), sharpness], "sharp_logits")
    shares = graph.node("Softmax", [sharp], "shares", axis=1)
    row = graph.node("MatMul", [shares, graph.constant("embeddings", embeddings)], "row")
    graph.node("Unsqueeze", [row, graph.constant("token_axis", np.array([1], np.int64))], "image_embed")
    shape = [1, 1, embeddings.shape[1]]
    output = helper.make_tensor_value_info("image_embed", TensorProto.FLOAT, shape)
    _write(path, graph, output, {"labels": LABELS, "rknn_quant": {"image": PIXELS}, "license": LICENSE})


def digit_embeddings(language_model: Path) -> npt.NDArray[np.float32]:
    """Return the language model's embeddings of "0" to "9", each of which is one token wherever it stands."""
    reader = gguf.GGUFReader(language_model)
    pieces = reader.fields["tokenizer.ggml.tokens"].contents()
    tensor = next(tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
    table = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return np.ascontiguousarray(table[[pieces.index(str(digit)) for digit in range(len(LABELS))]], np.float32)

"""Tensors of ONNX models whose numbers are in files beside them."""

from __future__ import annotations

from onnx import TensorProto


def outside(name: str) -> TensorProto:
    """Return a tensor whose numbers are in a file of this name."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", name), ("offset", "0"), ("length", "4")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor

"""What is read from ONNX Runtime's profile: the layers of the last run alone, as a table of columns."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from rkllmd.portable.rknn.models.profile import Layer, layers_of_last_run, table

END = {"name": "model_run", "dur": 1, "args": {}}


def node(operator: str, microseconds: int, **arguments: Any) -> dict[str, Any]:
    return {"name": f"{operator}_kernel_time", "dur": microseconds, "args": {"op_name": operator, **arguments}}


def profile(*events: dict[str, Any]) -> list[Layer]:
    """Return what is read of a file as ONNX Runtime writes it: one event in a line, in its own spacing."""
    lines = [json.dumps(event).replace('"name": ', '"name" :') for event in events]
    descriptor = os.memfd_create("profile")
    try:
        os.write(descriptor, ("[\n" + ",\n".join(lines) + "\n]\n").encode())
        return layers_of_last_run(descriptor)
    finally:
        os.close(descriptor)


def test_only_the_layers_of_the_last_run_count() -> None:
    events = [{"name": "session_initialization", "dur": 9, "args": {}}, node("Conv", 5), END, node("Relu", 7), END]
    assert [layer.operator for layer in profile(*events)] == ["Relu"]
    assert [layer.operator for layer in profile(*events[:3])] == ["Conv"]


def test_a_run_that_has_not_ended_is_not_read() -> None:
    assert profile(node("Conv", 5)) == []
    assert [layer.operator for layer in profile(node("Conv", 5), END, node("Relu", 7))] == ["Conv"]


def test_what_is_no_kernel_is_no_layer() -> None:
    assert profile({"name": "Conv_fence_before", "dur": 1, "args": {}}, node("Conv", 5), END) == [
        Layer("Conv", "-", "-", "-", 5)
    ]


@pytest.mark.parametrize(("given", "name"), [("float", "FLOAT32"), ("float16", "FLOAT16"), ("int8", "INT8")])
def test_types_have_the_vendors_names(given: str, name: str) -> None:
    (layer,) = profile(
        node("Add", 5, input_type_shape=[{given: [1, 2]}, {given: []}], output_type_shape=[{given: [1]}]), END
    )
    assert layer == Layer("Add", name, "(1,2),()", "(1)", 5)


def test_the_table_has_columns_without_spaces_inside_and_a_total() -> None:
    text = table([Layer("Conv", "INT8", "(1,3)", "(1,4)", 12), Layer("Relu", "FLOAT32", "-", "(1)", 3)])
    header, first, second, total, end = text.split("\n")
    assert header.split() == ["ID", "OpType", "DataType", "Target", "InputShape", "OutputShape", "Time(us)"]
    assert first.split() == ["1", "Conv", "INT8", "CPU", "(1,3)", "(1,4)", "12"]
    assert second.split() == ["2", "Relu", "FLOAT32", "CPU", "-", "(1)", "3"]
    assert (total, end) == ("Total Operator Elapsed Per Frame Time(us): 15", "")

"""The table of layers and their times, from ONNX Runtime's profile, in the style of the vendor's."""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from rkllmd.json_types import JsonObject

_HEADER = ("ID", "OpType", "DataType", "Target", "InputShape", "OutputShape", "Time(us)")
_END_OF_RUN = b'"name" :"model_run"'
# ONNX Runtime's names for element types, where they differ from the vendor's.
_TYPE_NAMES = {"float": "FLOAT32"}


class Layer(NamedTuple):
    """One node of the graph as it was run; ``time`` in microseconds."""

    operator: str
    data_type: str
    inputs: str
    outputs: str
    time: int


def layers_of_last_run(descriptor: int) -> list[Layer]:
    """Read the layers of the last run from a profile: a file with an array of JSON objects, one in each line.

    Only those of the last run are parsed: the profile of many runs is long, and parsing keeps the GIL.
    """
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    end = content.rfind(_END_OF_RUN)
    if end < 0:
        return []
    start = max(content.rfind(_END_OF_RUN, 0, end), 0)
    lines = content[content.find(b"\n", start) + 1 : content.rfind(b"\n", 0, end)].splitlines()
    events = [json.loads(line.rstrip(b",")) for line in lines if line.startswith(b"{")]
    return [_layer(event) for event in events if event["name"].endswith("_kernel_time")]


def table(layers: list[Layer]) -> str:
    """Return the layers as lines of columns; the columns are separated by spaces and have none inside."""
    rows = [_HEADER]
    for number, layer in enumerate(layers, 1):
        rows.append((str(number), layer.operator, layer.data_type, "CPU", layer.inputs, layer.outputs, str(layer.time)))
    widths = [max(map(len, column)) + 3 for column in zip(*rows, strict=True)]
    lines = ["".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    total = sum(layer.time for layer in layers)
    return "\n".join([*lines, f"Total Operator Elapsed Per Frame Time(us): {total}", ""])


def _layer(event: JsonObject) -> Layer:
    arguments = event["args"]
    outputs = arguments.get("output_type_shape", [])
    types = [name for output in outputs for name in output]
    data_type = types[0] if types else "-"
    return Layer(
        operator=arguments.get("op_name", "-"),
        data_type=_TYPE_NAMES.get(data_type, data_type.upper()),
        inputs=_shapes(arguments.get("input_type_shape", [])),
        outputs=_shapes(outputs),
        time=event["dur"],
    )


def _shapes(tensors: list[dict[str, list[int]]]) -> str:
    shapes = [f"({','.join(map(str, shape))})" for tensor in tensors for shape in tensor.values()]
    return ",".join(shapes) or "-"

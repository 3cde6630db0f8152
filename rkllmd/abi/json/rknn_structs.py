"""RKNN's structs as JSON objects: enums by their names, arrays as far as they are used, characters as text."""

from __future__ import annotations

import ctypes

from rkllmd.abi.c_types import Struct
from rkllmd.abi.json.from_c import shortest
from rkllmd.abi.json.structs import fields_of
from rkllmd.abi.layouts.rknn import rknn_input_range
from rkllmd.json_types import JsonObject


def describe(struct: Struct) -> JsonObject:
    """Return a struct's fields; an enum is its C name, which all parameters take beside the number."""
    described: JsonObject = {}
    for name, field_type in fields_of(type(struct)).items():
        value = getattr(struct, name)
        if name in struct._enums_:
            described[name] = _name(struct, name, value)
        elif isinstance(value, bytes):
            described[name] = value.decode("utf-8", "replace")
        elif isinstance(value, float):
            described[name] = shortest(value)
        elif name == "dims":
            described[name] = list(value[: min(getattr(struct, "n_dims", 0), len(value))])
        elif isinstance(value, Struct):
            described[name] = describe(value)
        elif isinstance(value, int) and not issubclass(field_type, ctypes.Array):
            described[name] = value
    return described


def describe_range(struct: rknn_input_range) -> JsonObject:
    """Return the shapes that an input may have."""
    described = describe(struct)
    shapes = struct.dyn_range[: min(struct.shape_number, len(struct.dyn_range))]
    return {**described, "shapes": [list(shape[: min(struct.n_dims, len(shape))]) for shape in shapes]}


def describe_perf(text: str) -> JsonObject:
    """Return the runtime's table as rows of named columns, and its text as it is.

    The columns differ between versions, so their names are those of the header line.
    """
    columns: list[str] = []
    rows: list[JsonObject] = []
    for line in text.splitlines():
        words = line.split()
        if words[:2] == ["ID", "OpType"]:
            columns = words
        elif columns and words and words[0].isdecimal() and len(words) == len(columns):
            rows.append({column: _number(word) for column, word in zip(columns, words, strict=True)})
    return {"perf_data": text, "rows": rows}


def _number(word: str) -> float | str:
    for read in (int, float):
        try:
            return read(word)
        except ValueError:
            continue
    return word


def _name(struct: Struct, field: str, value: int) -> str | int:
    enum = struct._enums_[field]
    return enum(value).name if value in set(enum) else value

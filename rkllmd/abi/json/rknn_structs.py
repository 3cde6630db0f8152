"""RKNN's structs as JSON objects, typed: names for enums, arrays as long as they are used, text for characters."""

from __future__ import annotations

import ctypes
from typing import Any

from rkllmd.abi.c_types import Struct
from rkllmd.abi.json.from_c import shortest
from rkllmd.abi.json.structs import fields_of
from rkllmd.abi.layouts.rknn import rknn_input_range


def describe(struct: Struct) -> dict[str, Any]:
    """Return a struct's fields; an enum is its C name, which all parameters take as well as the number."""
    described: dict[str, Any] = {}
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


def describe_range(struct: rknn_input_range) -> dict[str, Any]:
    """Return the shapes that an input may have."""
    described = describe(struct)
    shapes = struct.dyn_range[: min(struct.shape_number, len(struct.dyn_range))]
    return {**described, "shapes": [list(shape[: min(struct.n_dims, len(shape))]) for shape in shapes]}


def describe_perf(text: str) -> dict[str, Any]:
    """Return the runtime's table as rows of named columns, and the text as it is.

    The columns differ between versions: what the header line names is what the rows have.
    """
    columns: list[str] = []
    rows: list[dict[str, Any]] = []
    for line in text.splitlines():
        words = line.split()
        if words[:2] == ["ID", "OpType"]:
            columns = words
        elif columns and words and words[0].isdecimal() and len(words) == len(columns):
            rows.append({column: _number(word) for column, word in zip(columns, words, strict=True)})
    return {"perf_data": text, "rows": rows}


def _number(word: str) -> Any:
    for read in (int, float):
        try:
            return read(word)
        except ValueError:
            continue
    return word


def _name(struct: Struct, field: str, value: int) -> Any:
    enum = struct._enums_[field]
    return enum(value).name if value in set(enum) else value

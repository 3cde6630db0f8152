"""The mirrored structs by their C names, and what their fields are: for the conversions and the schemas."""

from __future__ import annotations

import ctypes
from ctypes import c_int8, c_int16, c_int32, c_int64, c_size_t, c_uint8, c_uint16, c_uint32, c_uint64
from enum import IntEnum
from functools import cache
from typing import TypeGuard, cast

from rkllmd.abi.c import Pointer
from rkllmd.abi.c_types import CObject, CType, Struct
from rkllmd.abi.layouts import rknn, rknn_matmul
from rkllmd.abi.layouts.rkllm import LAYOUTS

INT_RANGES: dict[CType, tuple[int, int]] = {
    c_int8: (-(1 << 7), (1 << 7) - 1),
    c_int16: (-(1 << 15), (1 << 15) - 1),
    c_int32: (-(1 << 31), (1 << 31) - 1),
    c_int64: (-(1 << 63), (1 << 63) - 1),
    c_uint8: (0, (1 << 8) - 1),
    c_uint16: (0, (1 << 16) - 1),
    c_uint32: (0, (1 << 32) - 1),
    c_uint64: (0, (1 << 64) - 1),
    c_size_t: (0, (1 << 8 * ctypes.sizeof(c_size_t)) - 1),
}
"""C integer type → least and greatest value. For ctypes, int, long and so on are other names of these."""


@cache
def struct_types(name: str) -> list[type[Struct]]:
    """Return the mirrors of a struct; those of RKLLM have one for each layout that has the struct. Raises KeyError."""
    found = [layout.structs[name] for layout in LAYOUTS.values() if name in layout.structs]
    for module in (rknn, rknn_matmul):
        struct: object = vars(module).get(name)
        if isinstance(struct, type) and issubclass(struct, Struct) and struct is not Struct:
            return [struct]
    if not found:
        raise KeyError(name)
    return found


@cache
def fields_of(struct_type: type[ctypes.Structure | ctypes.Union]) -> dict[str, CType]:
    """Return field → C type, in C order, with the members of an unnamed union as fields of the struct."""
    anonymous = getattr(struct_type, "_anonymous_", ())
    fields: dict[str, CType] = {}
    for name, field_type, *_ in struct_type._fields_:
        if name in anonymous:
            fields.update(fields_of(cast("type[ctypes.Union]", field_type)))
        else:
            fields[name] = field_type
    return fields


def is_pointer(field_type: CType) -> TypeGuard[type[Pointer[CObject]]]:
    """Return whether ``field_type`` is a POINTER(...); c_char_p and c_void_p are not."""
    return issubclass(field_type, Pointer)


def of_array(array_type: type[ctypes.Array[CObject]]) -> tuple[CType, int]:
    """Return the type of an array's elements, and how many it has."""
    # The type checker takes these two for properties of an array, and not of its type.
    return vars(array_type)["_type_"], vars(array_type)["_length_"]


@cache
def members_of(enum: type[IntEnum]) -> dict[str, int]:
    """Return what a client may say for an enum; the count at the end of some (RKNN_TENSOR_TYPE_MAX) is no member."""
    return {name: int(item) for name, item in enum.__members__.items() if not name.endswith("_MAX")}

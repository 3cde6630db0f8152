"""C to JSON: the numbers, strings and structs that a struct holds."""

from __future__ import annotations

import ctypes
import math

from rkllmd.abi.c_types import Struct
from rkllmd.abi.json.structs import fields_of, is_pointer, struct_types
from rkllmd.json_types import Json, JsonObject


def from_c(struct: ctypes.Structure) -> JsonObject:
    """Return the numbers, strings and embedded structs of ``struct``; ``reserved`` and other arrays are left out.

    For structs without a union: all strings are read, and what a union holds may not be one.
    """
    return {
        name: _value_from_c(getattr(struct, name))
        for name, field_type in fields_of(type(struct)).items()
        if not issubclass(field_type, ctypes.Array) and not is_pointer(field_type)
    }


def sampling_from(param: ctypes.Structure, sampling_type: type[Struct]) -> Struct:
    """Return the sampling with which a model was loaded: the default for a run that gives only some fields."""
    return sampling_type(**{name: getattr(param, name) for name in fields_of(sampling_type)})


def sampling_of(param: ctypes.Structure) -> JsonObject:
    """Return by which sampling parameters a model was loaded, as JSON; each version's RKLLMParam has all of them."""
    return from_c(sampling_from(param, struct_types("RKLLMSamplingParam")[0]))


def _value_from_c(value: object) -> Json:
    match value:
        case bytes():
            return value.decode("utf-8", "replace")
        case ctypes.Structure():
            return from_c(value)
        case float():
            return shortest(value)
    return value


def shortest(value: float) -> float | None:
    """Return the shortest double that is ``value`` as a float: 0.8, not 0.800000011920929; None if not finite."""
    if not math.isfinite(value):
        return None
    candidates = (float(f"{value:.{digits}g}") for digits in range(6, 9))
    return next((short for short in candidates if ctypes.c_float(short).value == value), value)

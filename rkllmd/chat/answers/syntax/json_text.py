"""JSON as models write it, taken only if it can be written to the client as well."""

from __future__ import annotations

import json
import math
from typing import Final, NoReturn

from rkllmd.json_types import Json, JsonObject

# Integers beyond 64 bits, which the daemon's serializer does not write; a longer literal is none of a sensible call.
_INTEGERS: Final = range(-(2**63), 2**64)
_MAX_DIGITS: Final = 20


def parse(text: str) -> Json:
    """Return the value of a JSON text.

    Raises ValueError if it is none, or nothing that every reader of JSON takes: NaN, infinite numbers, integers beyond
    64 bits, halves of surrogate pairs, very deep nesting.
    """
    try:
        value = json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_refuse, strict=False)
        text.encode()
        if "\\u" in text:
            dump(value).encode()  # a half of a surrogate pair can also be written as an escape
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def parse_object(text: str) -> JsonObject:
    """Return the object of a JSON text, or of a JSON string that has one, as some models write it."""
    value = parse(text)
    if isinstance(value, str):
        value = parse(value)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def dump(value: Json) -> str:
    """Return a value as JSON text."""
    return json.dumps(value, ensure_ascii=False)


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS or int(text) not in _INTEGERS:
        raise ValueError("an integer beyond 64 bits")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("an infinite number")
    return number


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")

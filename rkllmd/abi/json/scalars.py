"""One JSON value to one C value: a boolean, a number, a member of an enum, a string. What C can't hold is refused."""

from __future__ import annotations

import math
from ctypes import c_float
from enum import IntEnum

from rkllmd.abi.c_types import CType
from rkllmd.abi.json.structs import INT_RANGES, members_of
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json
from rkllmd.wire.long_strings import LongString

# An adapter to which the client gives no name has that of its file. The name stays as long as the model and is in every
# server.status, so it must not be as long as a request may be.
_NAME_BYTES = 255
_FLOAT_MAX = 3.4028234663852886e38


def enum_value(item: Json, enum: type[IntEnum], path: str) -> int:
    """Return the number of an enum member given as number or C name. Raises InvalidParams."""
    members = members_of(enum)
    if isinstance(item, str) and item in members:
        return members[item]
    if type(item) in (int, float) and item in members.values():
        return int(item)
    raise InvalidParams(
        f"{path} must be one of {', '.join(members)}, or its number.", path=path, keyword="enum", limit=list(members)
    )


def to_bool(item: Json, path: str) -> bool:
    """Return true, false, 0 or 1 as a bool. Raises InvalidParams."""
    if isinstance(item, bool) or (type(item) in (int, float) and item in (0, 1)):
        return bool(item)
    raise InvalidParams(f"{path} must be true or false.", path=path, keyword="type", limit="boolean")


def to_float(item: Json, path: str) -> float:
    """Return a number rounded to the float that C will have. Raises InvalidParams."""
    if type(item) not in (int, float):
        raise InvalidParams(f"{path} must be a number.", path=path, keyword="type", limit="number")
    # The float decides, not the double: the shortest spelling of the greatest float is a double beyond it.
    try:
        number = c_float(item).value
    except OverflowError:  # an integer beyond even the double
        number = math.inf
    if not math.isfinite(number):
        raise InvalidParams(f"{path} must fit a float.", path=path, keyword="maximum", limit=_FLOAT_MAX)
    return number


def to_int(item: Json, field_type: CType, path: str) -> int:
    """Return an integer that fits ``field_type``. Raises InvalidParams."""
    # For JSON Schema, 1.0 is an integer, and some languages write all their numbers like that.
    if type(item) is not int and not (type(item) is float and item.is_integer()):
        raise InvalidParams(f"{path} must be an integer.", path=path, keyword="type", limit="integer")
    low, high = INT_RANGES[field_type]
    if item < low:
        raise InvalidParams(f"{path} must be at least {low}.", path=path, keyword="minimum", limit=low)
    if item > high:
        raise InvalidParams(f"{path} must be at most {high}.", path=path, keyword="maximum", limit=high)
    return int(item)


def to_text(item: Json, path: str, *, is_printed: bool, is_name: bool) -> bytes:
    """Return a string as C has it: UTF-8 without NUL inside; ctypes adds the one at its end. Raises InvalidParams."""
    if isinstance(item, LongString):
        item = str(item)
    if not isinstance(item, str):
        raise InvalidParams(f"{path} must be a string.", path=path, keyword="type", limit="string")
    if "\0" in item:
        raise InvalidParams(f"{path} must not contain NUL, which ends a C string.", path=path, keyword="pattern")
    if is_printed and any(character < " " or character == "\x7f" for character in item):
        # The runtimes print names: what comes behind a line break could pass for a line of theirs.
        raise InvalidParams(f"{path} must not contain control characters.", path=path, keyword="pattern")
    try:
        encoded = item.encode()
    except UnicodeEncodeError:
        raise InvalidParams(f"{path} must be valid Unicode.", path=path, keyword="format", limit="utf-8") from None
    if is_name and len(encoded) > _NAME_BYTES:
        detail = f"{path} must have at most {_NAME_BYTES} bytes."
        raise InvalidParams(detail, path=path, keyword="maxLength", limit=_NAME_BYTES)
    return encoded

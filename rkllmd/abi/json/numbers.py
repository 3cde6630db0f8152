"""JSON numbers to the elements of a tensor: each is exactly what the client wrote, or it is refused by its place.

An integer type takes whole numbers of its range (1.0 is one: some languages write all their numbers like that), a
floating point type takes what does not become infinite in it.
"""

from __future__ import annotations

import itertools
import struct
from array import array
from collections.abc import Callable
from typing import Any, Final

from rkllmd.errors import InvalidParams

MAX_RANK: Final = 16
"""RKNN_MAX_DIMS; deeper nesting is no tensor."""

ARRAY_CODES: Final = {
    "float32": "f",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "bool": "B",
}
"""dtype → its code in Python's arrays, for those that they have."""

# C code that converts or encodes holds the GIL, so a helper thread alone would not keep the event loop free: work goes
# in pieces that take well under a millisecond. (Also bounds the Python numbers that exist at one time.)
ELEMENTS_AT_ONCE: Final = 1 << 13

_RANGES: Final[dict[str, tuple[int, int]]] = {
    **{f"int{bits}": (-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (4, 8, 16, 32, 64)},
    **{f"uint{bits}": (0, (1 << bits) - 1) for bits in (8, 16, 32)},
    "bool": (0, 1),
}
_MOST_EXACT: Final = 1 << 53
# What rounds to infinity, and is refused as JSON has no infinity: half a step above the greatest number.
_INFINITE: Final = {
    "float32": (2 - 2**-24) * 2.0**127,
    "float16": 65520.0,
    "bfloat16": (2 - 2**-8) * 2.0**127,
}


def from_numbers(
    value: list[Any] | float, dtype: str, path: str, holds: str | None = None
) -> tuple[bytearray | array[Any], tuple[int, ...]]:
    """Return the elements of nested lists of numbers, or of a number, and their shape.

    ``holds`` is a narrower type that the runtime will make of them: its range counts. Raises InvalidParams with the
    path of the first number that ``dtype`` or ``holds`` can't hold.
    """
    numbers, shape = _flatten(value, path) if isinstance(value, list) else ([value], ())
    places = _Places(path, shape)
    carrier = {"int4": "int8", "float16": "float32", "bfloat16": "float32"}.get(dtype, dtype)
    elements = array(ARRAY_CODES[carrier])
    for start in range(0, len(numbers), ELEMENTS_AT_ONCE):
        piece = numbers[start : start + ELEMENTS_AT_ONCE]
        elements.extend(_piece(piece, start, carrier, dtype, places))
    if holds in _INFINITE:
        _check_finite(elements, holds, places)
    if dtype in _PACKED:
        return _PACKED[dtype](elements), shape
    return elements, shape


class _Places:
    """Where each number stands in the client's JSON."""

    def __init__(self, path: str, shape: tuple[int, ...]) -> None:
        self._path = path
        self._shape = shape

    def __getitem__(self, position: int) -> str:
        indices: list[int] = []
        for size in reversed(self._shape):
            position, index = divmod(position, size)
            indices.insert(0, index)
        return self._path + "".join(f"[{index}]" for index in indices)


def _piece(numbers: list[Any], start: int, carrier: str, dtype: str, places: _Places) -> array[Any]:
    """Return ``numbers``, which begin at ``start``, as an array. Raises InvalidParams."""
    code = ARRAY_CODES[carrier]
    try:
        if code == "f":
            found = array(code, numbers)
            _check_finite(found, dtype, places, start)
            return found
        try:
            found = array(code, numbers)
        except TypeError:  # 1.0 among them
            found = array(code, [_whole(number) for number in numbers])
    except (TypeError, OverflowError):
        raise _wrong(numbers, start, dtype, places) from None
    low, high = _RANGES[dtype]
    if dtype in ("bool", "int4") and numbers and not (min(found) >= low and max(found) <= high):
        raise _wrong(numbers, start, dtype, places)
    return found


def _whole(number: Any) -> Any:
    """Return a whole float as an integer; beyond 2^53 it need not be the number that was written."""
    is_exact = isinstance(number, float) and number.is_integer() and abs(number) <= _MOST_EXACT
    return int(number) if is_exact else number


def _check_finite(numbers: array[Any], dtype: str, places: _Places, start: int = 0) -> None:
    """Refuse what is infinite in ``dtype``. Raises InvalidParams."""
    limit = _INFINITE[dtype]
    # NaN is not in JSON, so the extremes tell of all.
    if numbers and not (max(numbers) < limit and min(numbers) > -limit):
        raise _wrong(numbers, start, dtype, places)


def _wrong(numbers: Any, start: int, dtype: str, places: _Places) -> InvalidParams:
    """Return the error for the first of ``numbers`` that ``dtype`` can't hold."""
    for position, number in enumerate(numbers, start):
        path = places[position]
        if not isinstance(number, (int, float)):
            return InvalidParams(f"{path} must be a number.", path=path, keyword="type", limit=dtype)
        if dtype in _INFINITE:
            if not abs(number) < _INFINITE[dtype]:
                return InvalidParams(f"{path} is too large for {dtype}.", path=path, keyword="maximum", limit=dtype)
            continue
        low, high = _RANGES[dtype]
        # The ends of int64 as floats are one beyond the greatest, and what was less than the least.
        if not low <= number <= high or (isinstance(number, float) and number in (low, high) and dtype == "int64"):
            detail = f"{path} must be from {low} to {high}, for {dtype}."
            return InvalidParams(detail, path=path, keyword="maximum", limit=dtype)
        if not isinstance(_whole(number), int):
            detail = f"{path} must be a whole number, for {dtype}; a large one without a point or an exponent."
            return InvalidParams(detail, path=path, keyword="type", limit=dtype)
    raise AssertionError("called for numbers that are all right")


def _flatten(value: list[Any], path: str) -> tuple[list[Any], tuple[int, ...]]:
    """Return the elements of nested lists and the shape of the nesting; lists without elements are a dimension of 0."""
    shape = [len(value)]
    while value and isinstance(value[0], list):
        width = len(value[0])
        if any(not isinstance(row, list) or len(row) != width for row in value):
            raise InvalidParams(f"{path} has rows of different lengths.", path=path, keyword="items", limit=width)
        if len(shape) == MAX_RANK:
            raise InvalidParams(f"{path} is nested too deeply.", path=path, keyword="maxItems", limit=MAX_RANK)
        value = list(itertools.chain.from_iterable(value))
        shape.append(width)
    return value, tuple(shape)


def _to_float16(numbers: array[Any]) -> bytearray:
    data = bytearray()
    for start in range(0, len(numbers), ELEMENTS_AT_ONCE):
        piece = numbers[start : start + ELEMENTS_AT_ONCE]
        data += struct.pack(f"<{len(piece)}e", *piece)
    return data


def _to_bfloat16(numbers: array[Any]) -> bytearray:
    """Return the upper halves of the floats, rounded to the nearest, to even where it is in the middle."""
    words = array("I", numbers.tobytes())
    return bytearray(array("H", ((word + 0x7FFF + (word >> 16 & 1)) >> 16 & 0xFFFF for word in words)).tobytes())


def _to_int4(numbers: array[Any]) -> bytearray:
    """Return two elements in each byte, the low half first."""
    padded = [*numbers, 0] if len(numbers) % 2 else numbers
    return bytearray((low & 15) | (high & 15) << 4 for low, high in zip(padded[::2], padded[1::2], strict=True))


_PACKED: Final[dict[str, Callable[[array[Any]], bytearray]]] = {
    "float16": _to_float16,
    "bfloat16": _to_bfloat16,
    "int4": _to_int4,
}
"""dtype that Python's arrays do not have → how it is made of those they have."""

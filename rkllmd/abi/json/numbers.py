"""JSON numbers to the elements of a tensor: each is exactly what the client wrote, or it is refused by its place.

An integer type takes whole numbers of its range (1.0 is one: some languages write all their numbers like that), a
floating point type takes what does not become infinite in it.
"""

from __future__ import annotations

import itertools
import struct
from array import array
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias, cast

from rkllmd.abi.c import Elements
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json

_Array: TypeAlias = "array[float]"

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
"""dtype → its code in Python's arrays, for the types that they have."""

# C code that converts or encodes holds the GIL, so a helper thread alone would not keep the event loop free: the work
# is done in pieces that take well under a millisecond. (This also bounds how many Python numbers exist at one time.)
ELEMENTS_AT_ONCE: Final = 1 << 13

_RANGES: Final[dict[str, tuple[int, int]]] = {
    **{f"int{bits}": (-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (4, 8, 16, 32, 64)},
    **{f"uint{bits}": (0, (1 << bits) - 1) for bits in (8, 16, 32)},
    "bool": (0, 1),
}
_MOST_EXACT: Final = 1 << 53
# From here on, a number rounds to infinity: half a step above the greatest number. It is refused, since JSON has no
# infinity.
_INFINITE: Final = {
    "float32": (2 - 2**-24) * 2.0**127,
    "float16": 65520.0,
    "bfloat16": (2 - 2**-8) * 2.0**127,
}


def from_numbers(
    value: list[Json] | float, dtype: str, path: str, holds: str | None = None
) -> tuple[Elements, tuple[int, ...]]:
    """Return the elements of nested lists of numbers, or of a number, and their shape.

    ``holds`` is a narrower type to which the runtime will convert them: its range counts as well. Raises InvalidParams
    with the path of the first number that ``dtype`` or ``holds`` can't hold.
    """
    numbers, shape = _flatten(value, path) if isinstance(value, list) else ([value], ())
    places = _Places(path, shape)
    carrier = {"int4": "int8", "float16": "float32", "bfloat16": "float32"}.get(dtype, dtype)
    elements: _Array = array(ARRAY_CODES[carrier])
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


def _piece(numbers: list[Json], start: int, carrier: str, dtype: str, places: _Places) -> _Array:
    """Return ``numbers``, which begin at ``start``, as an array. Raises InvalidParams."""
    code = ARRAY_CODES[carrier]
    found: _Array
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


def _whole(number: Json) -> Json:
    """Return a whole float as an integer; not one beyond 2^53, which may differ from the number that was written."""
    is_exact = isinstance(number, float) and number.is_integer() and abs(number) <= _MOST_EXACT
    return int(number) if is_exact else number


def _check_finite(numbers: _Array, dtype: str, places: _Places, start: int = 0) -> None:
    """Refuse what is infinite in ``dtype``. Raises InvalidParams."""
    limit = _INFINITE[dtype]
    # JSON has no NaN, so the greatest and the least speak for all.
    if numbers and not (max(numbers) < limit and min(numbers) > -limit):
        raise _wrong(numbers, start, dtype, places)


def _wrong(numbers: Iterable[Json], start: int, dtype: str, places: _Places) -> InvalidParams:
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
        # A float that equals an end of int64 may be a number beyond it that was rounded.
        if not low <= number <= high or (isinstance(number, float) and number in (low, high) and dtype == "int64"):
            detail = f"{path} must be from {low} to {high}, for {dtype}."
            return InvalidParams(detail, path=path, keyword="maximum", limit=dtype)
        if not isinstance(_whole(number), int):
            detail = f"{path} must be a whole number, for {dtype}; a large one without a point or an exponent."
            return InvalidParams(detail, path=path, keyword="type", limit=dtype)
    raise AssertionError("it was called for numbers that are all right")


def _flatten(value: list[Json], path: str) -> tuple[list[Json], tuple[int, ...]]:
    """Return the elements of nested lists, and the shape of the nesting; empty lists are a dimension of 0."""
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


def _to_float16(numbers: _Array) -> bytearray:
    data = bytearray()
    for start in range(0, len(numbers), ELEMENTS_AT_ONCE):
        piece = numbers[start : start + ELEMENTS_AT_ONCE]
        data += struct.pack(f"<{len(piece)}e", *piece)
    return data


def _to_bfloat16(numbers: _Array) -> bytearray:
    """Return the upper halves of the floats, rounded to the nearest; to the even one from the middle."""
    words = array("I", numbers.tobytes())
    return bytearray(array("H", ((word + 0x7FFF + (word >> 16 & 1)) >> 16 & 0xFFFF for word in words)).tobytes())


def _to_int4(numbers: _Array) -> bytearray:
    """Return two elements in each byte, the low half first."""
    whole = cast("array[int]", numbers)
    padded = [*whole, 0] if len(whole) % 2 else whole
    return bytearray((low & 15) | (high & 15) << 4 for low, high in zip(padded[::2], padded[1::2], strict=True))


_PACKED: Final[dict[str, Callable[[_Array], bytearray]]] = {
    "float16": _to_float16,
    "bfloat16": _to_bfloat16,
    "int4": _to_int4,
}
"""dtype that Python's arrays do not have → how it is made of one that they have."""

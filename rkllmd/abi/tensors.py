"""Tensors between JSON and C memory (protocol, section 5), without numpy and without I/O.

In: ``read_tensor`` takes any JSON form and returns a writable buffer of the element type that C wants.
Out: ``copy_tensor`` copies C memory at once, cheap enough for a callback; ``tensor_to_json`` encodes later, anywhere.

All machines this runs on are little-endian, as is the base64 on the wire.
"""

from __future__ import annotations

import binascii
import ctypes
import itertools
import math
import struct
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rkllmd.errors import InvalidParams, NotSupported

MAX_RANK = 16
"""RKNN_MAX_DIMS; deeper nesting is no tensor."""

ITEM_SIZES = {"float32": 4, "float16": 2, "bfloat16": 2, "int32": 4, "int64": 8}
_ARRAY_CODES = {"float32": "f", "int32": "i"}
# C code that converts or encodes holds the GIL, so a helper thread alone would not keep the event loop free: work goes
# in pieces that take well under a millisecond. (Also bounds the Python floats that exist at one time.)
_ELEMENTS_AT_ONCE = 1 << 13
_BYTES_AT_ONCE = 3 << 16  # a multiple of 3, which base64 turns into 4 characters
_CHARACTERS_AT_ONCE = _BYTES_AT_ONCE // 3 * 4
_FORMS = "an array of numbers, base64, or an object with data, dtype and shape"


@dataclass(frozen=True, slots=True)
class Tensor:
    """Elements of ``dtype`` in row-major order; ``shape`` multiplies to their number."""

    data: bytearray | array[Any]
    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def rows(self) -> tuple[int, ...]:
        """All dimensions but the last: what the rows count, () if the tensor is flat."""
        return self.shape[:-1]

    def as_c(self, element: Any) -> Any:
        """Return a ctypes array of ``element`` over the same memory; keep it alive as long as C may look at it."""
        return (element * self.count).from_buffer(self.data)


def read_tensor(value: Any, dtype: str, path: str) -> Tensor:
    """Return the tensor in ``value`` with elements of ``dtype`` ("float32" or "int32").

    Raises InvalidParams (``path``, ``keyword``, ``limit``), or NotSupported for the forms that are still to come.
    """
    # The one place that knows the forms; "fd" and "mem" get their readers here.
    match value:
        case list():
            return _from_numbers(value, dtype, path)
        case str():
            return _from_bytes(_decode(value, path), dtype, None, dtype, path)
        case {"fd": _} | {"mem": _}:
            form = "fd" if "fd" in value else "mem"
            raise NotSupported(
                f"{path}: tensors by {form} are not served yet; send base64 in data instead.",
                runtime="rkllmd",
                needs=f"a release with {form} tensors",
                path=path,
            )
        case dict():
            return _from_object(value, dtype, path)
    raise InvalidParams(f"{path} must be {_FORMS}.", path=path, keyword="type", limit=["array", "string", "object"])


def copy_tensor(pointer: Any, count: int, dtype: str = "float32") -> bytes:
    """Copy ``count`` elements out of C memory at once, one memcpy; nothing if ``pointer`` is NULL or ``count`` not > 0.

    For callbacks: the runtime's memory is valid only until they return, and encoding it can wait.
    """
    return ctypes.string_at(pointer, count * ITEM_SIZES[dtype]) if pointer and count > 0 else b""


def tensor_to_json(data: bytes, shape: Sequence[int], dtype: str = "float32") -> dict[str, Any]:
    """Return ``{"data": base64, "dtype", "shape"}``. About 1 ms per megabyte: not for the event loop when it is big."""
    pieces = (data[start : start + _BYTES_AT_ONCE] for start in range(0, len(data), _BYTES_AT_ONCE))
    encoded = b"".join(binascii.b2a_base64(piece, newline=False) for piece in pieces)
    return {"data": encoded.decode("ascii"), "dtype": dtype, "shape": list(shape)}


def _from_numbers(value: list[Any], dtype: str, path: str) -> Tensor:
    numbers, shape = _flatten(value, path)
    data = array(_ARRAY_CODES[dtype])
    for start in range(0, len(numbers), _ELEMENTS_AT_ONCE):
        try:
            piece = array(data.typecode, numbers[start : start + _ELEMENTS_AT_ONCE])
        except TypeError:
            raise _wrong_elements(dtype, path, "type") from None
        except OverflowError:
            raise _wrong_elements(dtype, path, "maximum") from None
        # JSON has no infinity, so one that is here now is a number too big for float32. A sum of float32 cannot
        # overflow in double precision, and summing is the cheapest look at every element.
        if dtype == "float32" and not math.isfinite(sum(piece)):
            raise _wrong_elements(dtype, path, "maximum")
        data.extend(piece)
    return Tensor(data, dtype, shape)


def _flatten(value: list[Any], path: str) -> tuple[list[Any], tuple[int, ...]]:
    """Return the elements of nested lists and the shape of the nesting."""
    shape = [len(value)]
    while value and isinstance(value[0], list):
        width = len(value[0])
        if not width:
            raise InvalidParams(f"{path} must not be empty.", path=path, keyword="minItems", limit=1)
        if any(not isinstance(row, list) or len(row) != width for row in value):
            raise InvalidParams(f"{path} has rows of different lengths.", path=path, keyword="items", limit=width)
        if len(shape) == MAX_RANK:
            raise InvalidParams(f"{path} is nested too deeply.", path=path, keyword="maxItems", limit=MAX_RANK)
        value = list(itertools.chain.from_iterable(value))
        shape.append(width)
    return value, tuple(shape)


def _from_object(value: dict[str, Any], dtype: str, path: str) -> Tensor:
    unknown = value.keys() - {"data", "dtype", "shape"}
    if unknown or "data" not in value:
        keyword = "additionalProperties" if unknown else "required"
        raise InvalidParams(f"{path} must be {_FORMS}.", path=path, keyword=keyword, limit=["data", "dtype", "shape"])
    given_dtype = value.get("dtype", dtype)
    accepted = [source for source, target in _CONVERSIONS if target == dtype]
    if given_dtype not in accepted:
        names = ", ".join(accepted)
        raise InvalidParams(
            f"{path}.dtype must be one of {names}.", path=f"{path}.dtype", keyword="enum", limit=accepted
        )
    shape = _read_shape(value["shape"], f"{path}.shape") if value.get("shape") is not None else None
    data = value["data"]
    if isinstance(data, list):
        tensor = _from_numbers(data, dtype, f"{path}.data")
        if shape is not None and math.prod(shape) != tensor.count:
            raise _wrong_size(path, math.prod(shape), "elements")
        return Tensor(tensor.data, dtype, tensor.shape if shape is None else shape)
    return _from_bytes(_decode(data, f"{path}.data"), given_dtype, shape, dtype, path)


def _read_shape(value: Any, path: str) -> tuple[int, ...]:
    if (
        isinstance(value, list)
        and 0 < len(value) <= MAX_RANK
        and all(type(size) is int and 0 < size < 1 << 48 for size in value)
    ):
        return tuple(value)
    raise InvalidParams(
        f"{path} must be an array of 1 to {MAX_RANK} positive integers.", path=path, keyword="items", limit=MAX_RANK
    )


def _decode(value: Any, path: str) -> bytearray:
    if not isinstance(value, str):
        raise InvalidParams(f"{path} must be a base64 string.", path=path, keyword="type", limit="string")
    # Padding ends the data; each piece by itself would accept it at the piece's own end.
    if value.find("=") not in (-1, len(value) - 2, len(value) - 1):
        raise _not_base64(path)
    data = bytearray()
    for start in range(0, len(value), _CHARACTERS_AT_ONCE):
        try:
            data += binascii.a2b_base64(value[start : start + _CHARACTERS_AT_ONCE], strict_mode=True)
        except ValueError:  # binascii.Error, or a character outside ASCII
            raise _not_base64(path) from None
    return data


def _from_bytes(raw: bytearray, source: str, shape: tuple[int, ...] | None, dtype: str, path: str) -> Tensor:
    count, rest = divmod(len(raw), ITEM_SIZES[source])
    if rest:
        raise InvalidParams(
            f"{path} must hold whole {source} elements of {ITEM_SIZES[source]} bytes.",
            path=path,
            keyword="multipleOf",
            limit=ITEM_SIZES[source],
        )
    if shape is not None and math.prod(shape) != count:
        raise _wrong_size(path, math.prod(shape) * ITEM_SIZES[source], "bytes")
    try:
        data = _CONVERSIONS[source, dtype](raw)
    except OverflowError:
        raise _wrong_elements(dtype, path, "maximum") from None
    return Tensor(data, dtype, (count,) if shape is None else shape)


def _float16_to_float32(raw: bytearray) -> array[float]:
    data = array("f")
    for start in range(0, len(raw), 2 * _ELEMENTS_AT_ONCE):
        piece = raw[start : start + 2 * _ELEMENTS_AT_ONCE]
        data.extend(struct.unpack(f"<{len(piece) // 2}e", piece))
    return data


def _bfloat16_to_float32(raw: bytearray) -> bytearray:
    """Return ``raw`` widened: a bfloat16 is the upper half of a float32."""
    data = bytearray(2 * len(raw))
    data[2::4] = raw[0::2]
    data[3::4] = raw[1::2]
    return data


def _int64_to_int32(raw: bytearray) -> array[int]:
    return array("i", array("q", raw))  # raises OverflowError


_CONVERSIONS: dict[tuple[str, str], Callable[[bytearray], bytearray | array[Any]]] = {
    ("float32", "float32"): lambda raw: raw,
    ("float16", "float32"): _float16_to_float32,
    ("bfloat16", "float32"): _bfloat16_to_float32,
    ("int32", "int32"): lambda raw: raw,
    ("int64", "int32"): _int64_to_int32,
}
"""(dtype on the wire, dtype in C) → conversion."""


def _not_base64(path: str) -> InvalidParams:
    return InvalidParams(f"{path} is not valid base64.", path=path, keyword="contentEncoding", limit="base64")


def _wrong_elements(dtype: str, path: str, keyword: str) -> InvalidParams:
    return InvalidParams(f"{path} must hold {dtype} numbers only.", path=path, keyword=keyword, limit=dtype)


def _wrong_size(path: str, expected: int, unit: str) -> InvalidParams:
    return InvalidParams(
        f"{path}: the shape needs {expected} {unit}, the data has another number.",
        path=path,
        keyword="shape",
        limit=expected,
    )

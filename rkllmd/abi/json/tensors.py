"""Tensors between JSON and C memory (protocol, section 5), without numpy and without I/O.

In: ``read_tensor`` takes any JSON form and returns a writable buffer of the element type that C wants.
``read_buffer`` does the same where the bytes may be of any type.
Out: ``copy_tensor`` copies C memory at once, cheap enough for a callback; ``tensor_to_json`` encodes later, anywhere.

All machines this runs on are little-endian, as is the base64 on the wire.
"""

from __future__ import annotations

import ctypes
import math
import struct
from array import array
from collections.abc import Callable, Sequence
from typing import Protocol

from rkllmd.abi.c import Elements, Pointer, c_float, c_int32
from rkllmd.abi.json.numbers import ARRAY_CODES, ELEMENTS_AT_ONCE, MAX_RANK, from_numbers
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject
from rkllmd.quick_dataclass import dataclass
from rkllmd.wire.long_strings import LongString, LongText, decode, encode

ITEM_SIZES = {
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "uint32": 4,
    "int64": 8,
    "bool": 1,
}
"""Bytes of one element; int4 has two elements in a byte (``byte_size``)."""


DTYPES = (*ITEM_SIZES, "int4")
# Longer than this, base64 goes to the client as it was encoded, piece by piece.
_LONG_BYTES = 3 << 14
_MOST_COPIED = (1 << 31) - 1
_FORMS = "an array of numbers, base64, or an object with data, fd or mem, and dtype and shape"


class Sources(Protocol):
    """Where the bytes of ``{"fd": …}`` and ``{"mem": …}`` come from."""

    def bytes_of(self, value: JsonObject, path: str) -> memoryview:
        """Return them, writable and in place. Raises RpcError."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Elements of ``dtype`` in row-major order; the product of ``shape`` is their number."""

    data: Elements
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

    def as_c(self, element: type[c_float] | type[c_int32]) -> ctypes.Array[c_float] | ctypes.Array[c_int32]:
        """Return a ctypes array of ``element`` over the same memory; keep it alive as long as C may look at it."""
        return (element * self.count).from_buffer(self.data)


@dataclass(frozen=True, slots=True)
class Buffer:
    """A tensor's bytes as a client gave them, and what it said about them."""

    data: Elements
    dtype: str | None
    shape: tuple[int, ...] | None

    @property
    def size(self) -> int:
        """The number of bytes."""
        return memoryview(self.data).nbytes


def byte_size(count: int, dtype: str) -> int:
    """Return how many bytes ``count`` elements take."""
    return (count + 1) // 2 if dtype == "int4" else count * ITEM_SIZES[dtype]


def read_tensor(value: Json, dtype: str, path: str, sources: Sources | None = None) -> Tensor:
    """Return the tensor in ``value`` with elements of ``dtype`` ("float32" or "int32").

    Raises InvalidParams (``path``, ``keyword``, ``limit``), and for a memory what ``sources`` raises.
    """
    match value:
        case list():
            return _from_numbers(value, dtype, path)
        case str() | LongString():
            return _from_bytes(_decode(value, path), dtype, None, dtype, path)
        case dict():
            return _from_object(value, dtype, path, sources)
    raise InvalidParams(f"{path} must be {_FORMS}.", path=path, keyword="type", limit=["array", "string", "object"])


def read_buffer(
    value: Json, dtype: str, path: str, sources: Sources | None = None, *, holds: str | None = None
) -> Buffer:
    """Return the bytes in ``value``, of whatever dtype the client says; JSON numbers become ``dtype``.

    A plain number or boolean is a scalar, whose shape is (). ``holds``: as in ``from_numbers``, for numbers whose
    dtype the client does not say. Raises what ``read_tensor`` raises.
    """
    match value:
        case list() | int() | float():
            tensor = _from_numbers(value, dtype, path, holds)
            return Buffer(tensor.data, dtype, tensor.shape)
        case str() | LongString():
            return Buffer(_decode(value, path), None, None)
        case dict():
            return _buffer_from_object(value, dtype, path, sources, holds)
    raise InvalidParams(
        f"{path} must be a number, {_FORMS}.", path=path, keyword="type", limit=["number", "array", "string", "object"]
    )


def copy_tensor(pointer: Pointer[c_float], count: int, dtype: str = "float32") -> bytes:
    """Copy ``count`` elements out of C memory by one memcpy; nothing if ``pointer`` is NULL or ``count`` is not > 0.

    For callbacks: the runtime's memory is valid only until they return, and encoding it can wait.

    Raises OverflowError for 2 GiB and more.
    """
    if not pointer or count <= 0:
        return b""
    size = count * ITEM_SIZES[dtype]
    if size > _MOST_COPIED:  # ctypes would cut the size to 32 bits, and copy as much as that says
        raise OverflowError(f"a tensor of {size} bytes is too large: at most {_MOST_COPIED} can be answered")
    return ctypes.string_at(pointer, size)


def tensor_to_json(data: bytes | memoryview, shape: Sequence[int], dtype: str = "float32") -> JsonObject:
    """Return ``{"data": base64, "dtype", "shape"}``. Takes 1 ms per megabyte: on the event loop for small ones only."""
    pieces = list(encode(data))
    text = LongText(pieces) if len(data) > _LONG_BYTES else b"".join(pieces).decode("ascii")
    return {"data": text, "dtype": dtype, "shape": list(shape)}


def to_numbers(data: bytes | memoryview, dtype: str) -> Sequence[float]:
    """Return the elements as JSON numbers; orjson writes those that are not finite as null, since JSON has neither."""
    raw = bytearray(data)
    match dtype:
        case "float16":
            return _float16_to_float32(raw).tolist()
        case "bfloat16":
            return memoryview(_bfloat16_to_float32(raw)).cast("f").tolist()
        case "int4":  # the low half first
            return [((nibble & 15) ^ 8) - 8 for byte in raw for nibble in (byte, byte >> 4)]
        case "bool":
            return [byte != 0 for byte in raw]
    numbers: array[float] = array(ARRAY_CODES[dtype])
    numbers.frombytes(raw)
    found: list[float] = []
    for start in range(0, len(numbers), ELEMENTS_AT_ONCE):
        found += numbers[start : start + ELEMENTS_AT_ONCE]
    return found


def _from_numbers(value: list[Json] | float, dtype: str, path: str, holds: str | None = None) -> Tensor:
    data, shape = from_numbers(value, dtype, path, holds)
    return Tensor(data, dtype, shape)


_MEMBERS = {
    "data": {"data", "dtype", "shape"},
    "fd": {"fd", "offset", "size", "dtype", "shape"},
    "mem": {"mem", "offset", "size", "dtype", "shape"},
}


def _form_of(value: JsonObject, path: str) -> str:
    """Return which form an object has. Raises InvalidParams."""
    forms = [form for form in _MEMBERS if form in value]
    unknown = value.keys() - _MEMBERS[forms[0]] if forms else set()
    if not forms or unknown:
        keyword = "additionalProperties" if unknown else "required"
        limit = sorted(_MEMBERS[forms[0]]) if forms else list(_MEMBERS)
        raise InvalidParams(f"{path} must be {_FORMS}.", path=path, keyword=keyword, limit=limit)
    return forms[0]


def _from_object(value: JsonObject, dtype: str, path: str, sources: Sources | None) -> Tensor:
    form = _form_of(value, path)
    given_dtype = value.get("dtype", dtype)
    accepted = [source for source, target in _CONVERSIONS if target == dtype]
    if given_dtype not in accepted:
        names = ", ".join(accepted)
        raise InvalidParams(
            f"{path}.dtype must be one of {names}.", path=f"{path}.dtype", keyword="enum", limit=accepted
        )
    shape = _read_shape(value["shape"], f"{path}.shape") if value.get("shape") is not None else None
    if form != "data":
        return _from_bytes(_bytes_of(value, path, sources), given_dtype, shape, dtype, path)
    data = value["data"]
    if isinstance(data, list):
        tensor = _from_numbers(data, dtype, f"{path}.data")
        if shape is not None and math.prod(shape) != tensor.count:
            raise _wrong_size(path, math.prod(shape), "elements")
        return Tensor(tensor.data, dtype, tensor.shape if shape is None else shape)
    return _from_bytes(_decode(data, f"{path}.data"), given_dtype, shape, dtype, path)


def _buffer_from_object(value: JsonObject, dtype: str, path: str, sources: Sources | None, holds: str | None) -> Buffer:
    form = _form_of(value, path)
    given = value.get("dtype")
    if given is not None and given not in DTYPES:
        names = ", ".join(DTYPES)
        raise InvalidParams(
            f"{path}.dtype must be one of {names}.", path=f"{path}.dtype", keyword="enum", limit=list(DTYPES)
        )
    shape = _read_shape(value["shape"], f"{path}.shape") if value.get("shape") is not None else None
    data: Elements
    if form == "data" and isinstance(value["data"], (list, int, float)):
        tensor = _from_numbers(value["data"], given or dtype, f"{path}.data", None if given else holds)
        data, given, shape = tensor.data, given or dtype, tensor.shape if shape is None else shape
    else:
        data = _decode(value["data"], f"{path}.data") if form == "data" else _bytes_of(value, path, sources)
    buffer = Buffer(data, given, shape)
    if given is not None and shape is not None and byte_size(math.prod(shape), given) != buffer.size:
        raise _wrong_size(path, byte_size(math.prod(shape), given), "bytes")
    return buffer


def _bytes_of(value: JsonObject, path: str, sources: Sources | None) -> memoryview:
    if sources is None:
        raise InvalidParams(f"{path} can't be given by fd or mem here.", path=path, keyword="type")
    return sources.bytes_of(value, path)


def _aligned(raw: bytearray | memoryview, size: int) -> bytearray | memoryview:
    """Return ``raw``, or a copy where C could not read elements of ``size`` bytes in place."""
    is_aligned = ctypes.addressof(ctypes.c_char.from_buffer(raw)) % size == 0 if raw else True
    return raw if is_aligned else bytearray(raw)


def _read_shape(value: Json, path: str) -> tuple[int, ...]:
    if (
        isinstance(value, list)
        and len(value) <= MAX_RANK
        and all(type(size) is int and 0 <= size < 1 << 48 for size in value)
    ):
        return tuple(value)
    raise InvalidParams(
        f"{path} must be an array of at most {MAX_RANK} integers, none of them negative.",
        path=path,
        keyword="items",
        limit=MAX_RANK,
    )


def _decode(value: Json, path: str) -> bytearray | memoryview:
    if isinstance(value, LongString):
        return value.data
    if not isinstance(value, str):
        raise InvalidParams(f"{path} must be a base64 string.", path=path, keyword="type", limit="string")
    try:
        return decode(value.encode("ascii"))
    except ValueError:
        raise _not_base64(path) from None


def _from_bytes(
    raw: bytearray | memoryview, source: str, shape: tuple[int, ...] | None, dtype: str, path: str
) -> Tensor:
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
        data = _CONVERSIONS[source, dtype](_aligned(raw, ITEM_SIZES[source]))
    except OverflowError:
        raise _wrong_elements(dtype, path, "maximum") from None
    return Tensor(data, dtype, (count,) if shape is None else shape)


def _float16_to_float32(raw: bytearray | memoryview) -> array[float]:
    data = array("f")
    for start in range(0, len(raw), 2 * ELEMENTS_AT_ONCE):
        piece = raw[start : start + 2 * ELEMENTS_AT_ONCE]
        data.extend(struct.unpack(f"<{len(piece) // 2}e", piece))
    return data


def _bfloat16_to_float32(raw: bytearray | memoryview) -> bytearray:
    """Return ``raw`` widened: a bfloat16 is the upper half of a float32."""
    data = bytearray(2 * len(raw))
    data[2::4] = bytes(raw[0::2])
    data[3::4] = bytes(raw[1::2])
    return data


def _int64_to_int32(raw: bytearray | memoryview) -> array[int]:
    numbers = array("q")
    numbers.frombytes(raw)
    return array("i", numbers)  # raises OverflowError


_CONVERSIONS: dict[tuple[str, str], Callable[[bytearray | memoryview], Elements]] = {
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
    # An integer in JSON has at most 64 bits; the product of a shape may be larger.
    is_sayable = expected < 1 << 64
    needs = f"{expected} {unit}" if is_sayable else f"more {unit} than can be counted"
    return InvalidParams(
        f"{path}: the shape needs {needs}, the data has another number.",
        path=path,
        keyword="shape",
        limit=expected if is_sayable else None,
    )

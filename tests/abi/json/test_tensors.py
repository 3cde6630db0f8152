"""Tensors from JSON into C memory and back."""

from __future__ import annotations

import base64
import ctypes
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.abi.json import tensors
from rkllmd.abi.json.tensors import Buffer, copy_tensor, read_buffer, read_tensor, tensor_to_json
from rkllmd.errors import InvalidHandle, InvalidParams, RpcError
from rkllmd.wire import long_strings
from rkllmd.wire.long_strings import LongString, LongText
from tests.abi.json.tensor_values import b64, float32s, floats, ints, refused

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats() | st.text(max_size=9),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("value", "shape"),
    [([], (0,)), ([[]], (1, 0)), ([[], []], (2, 0)), ([[[]], [[]]], (2, 1, 0)), (7, ()), (True, ()), (2.0, ())],
)
def test_nothing_and_scalars(value: Any, shape: tuple[int, ...]) -> None:
    buffer = read_buffer(value, "int8", "$")
    assert (buffer.shape, buffer.size) == (shape, math.prod(shape))
    for data in (b64(bytes(math.prod(shape))), [0] * math.prod(shape)):
        assert read_buffer({"data": data, "dtype": "int8", "shape": list(shape)}, "int8", "$").shape == shape
    assert read_buffer({"data": value}, "int8", "$").shape == shape


@given(st.lists(float32s, min_size=1, max_size=50))
def test_base64(values: list[float]) -> None:
    data = b64(struct.pack(f"<{len(values)}f", *values))
    assert floats(read_tensor(data, "float32", "$")) == values
    tensor = read_tensor({"data": data, "dtype": "float32", "shape": [1, len(values)]}, "float32", "$")
    assert (floats(tensor), tensor.shape) == (values, (1, len(values)))


@given(st.lists(st.floats(width=16), min_size=1, max_size=50))
def test_float16(values: list[float]) -> None:
    data = {"data": b64(struct.pack(f"<{len(values)}e", *values)), "dtype": "float16"}
    assert list(map(repr, floats(read_tensor(data, "float32", "$")))) == list(map(repr, values))


@given(st.binary(min_size=2, max_size=100).filter(lambda raw: len(raw) % 2 == 0))
def test_bfloat16(raw: bytes) -> None:
    """A bfloat16 is the upper half of a float32, for every bit pattern."""
    widened = b"".join(b"\0\0" + raw[index : index + 2] for index in range(0, len(raw), 2))
    assert bytes(read_tensor({"data": b64(raw), "dtype": "bfloat16"}, "float32", "$").data) == widened


@given(st.lists(st.integers(-(2**31) - 2, 2**31 + 1), min_size=1, max_size=50))
def test_int64(values: list[int]) -> None:
    data = {"data": b64(struct.pack(f"<{len(values)}q", *values)), "dtype": "int64"}
    if all(-(2**31) <= value < 2**31 for value in values):
        assert ints(read_tensor(data, "int32", "$")) == values
    else:
        refused(data, "maximum", "int32")


def test_numbers_in_an_object() -> None:
    tensor = read_tensor({"data": [1, 2, 3, 4], "shape": [2, 2]}, "float32", "$")
    assert (floats(tensor), tensor.rows) == ([1, 2, 3, 4], (2,))
    assert read_tensor({"data": [[1, 2]], "shape": None}, "float32", "$").shape == (1, 2)
    refused({"data": [1, 2, 3], "shape": [2, 2]}, "shape")


@pytest.mark.parametrize(
    ("value", "keyword"),
    [
        ("AAA", "contentEncoding"),
        ("AAA\n", "contentEncoding"),
        ("AA!=", "contentEncoding"),
        ("€€€€", "contentEncoding"),
        ("=", "contentEncoding"),
        ("AA==AAAA", "contentEncoding"),
        ("AAAA", "multipleOf"),
        ({}, "required"),
        ({"shape": [1]}, "required"),
        ({"data": "", "more": 1}, "additionalProperties"),
        ({"data": 7}, "type"),
        ({"data": "AAAAAA==", "dtype": "int32"}, "enum"),
        ({"data": "AAAAAA==", "dtype": []}, "enum"),
        ({"data": "AAAAAA==", "shape": [2]}, "shape"),
        ({"data": "AAAAAA==", "shape": [2**47, 2**47]}, "shape"),
        ({"data": "", "shape": []}, "shape"),
        ({"data": "AAAAAA==", "shape": [0]}, "shape"),
        ({"data": "AAAAAA==", "shape": [1.0]}, "items"),
        ({"data": "AAAAAA==", "shape": [True]}, "items"),
        ({"data": "AAAAAA==", "shape": [-1, -1]}, "items"),
        ({"data": "AAAAAA==", "shape": [1] * 17}, "items"),
        ({"data": "AAAAAA==", "shape": 1}, "items"),
    ],
)
def test_wrong_objects(value: Any, keyword: str) -> None:
    refused(value, keyword)


def test_padding_inside_long_data() -> None:
    """Data is decoded in pieces; padding at the end of a piece is no more welcome than elsewhere."""
    piece = long_strings._CHARACTERS_AT_ONCE
    assert read_tensor("A" * (2 * piece), "float32", "$").count == piece * 2 * 3 // 4 // 4
    refused("A" * (piece - 2) + "==" + "A" * piece, "contentEncoding")


@pytest.mark.parametrize("value", [{"fd": 0, "dtype": "float32", "shape": [1]}, {"mem": 7}])
def test_descriptors_and_memories_where_there_are_none(value: Any) -> None:
    for read in (read_tensor, read_buffer):
        with pytest.raises(InvalidParams, match="can't be given by fd or mem here") as caught:
            read(value, "float32", "$.embed")
        assert caught.value.data["path"] == "$.embed"


class Memory:
    """A source of bytes that counts how often it is asked."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self.asked: list[tuple[dict[str, Any], str]] = []

    def bytes_of(self, value: dict[str, Any], path: str) -> memoryview:
        """Return the bytes in place."""
        self.asked.append((value, path))
        if value.get("mem") == 404:
            raise InvalidHandle("There is no tensor memory with this handle.", handle=404)
        return memoryview(self.data)


def test_descriptors_and_memories_are_read_in_place() -> None:
    memory = Memory(struct.pack("<4f", 1, 2, 3, 4))
    value = {"fd": 0, "shape": [2, 2]}
    tensor = read_tensor(value, "float32", "$.embed", memory)
    assert (floats(tensor), tensor.shape) == ([1, 2, 3, 4], (2, 2))
    memory.data[:4] = struct.pack("<f", 9)
    assert floats(tensor) == [9, 2, 3, 4], "not a copy"
    assert floats(read_tensor({"mem": 7, "dtype": "float16"}, "float32", "$", Memory(struct.pack("<e", 1.5)))) == [1.5]
    assert memory.asked == [(value, "$.embed")]


@pytest.mark.parametrize(
    ("value", "keyword"),
    [
        ({"fd": 0, "shape": [5]}, "shape"),
        ({"fd": 0, "shape": [0]}, "shape"),
        ({"fd": 0, "dtype": "int8"}, "enum"),
        ({"fd": 0, "mem": 1}, "additionalProperties"),
        ({"mem": 0, "data": ""}, "additionalProperties"),
        ({"fd": 0, "more": 1}, "additionalProperties"),
    ],
)
def test_wrong_descriptors_and_memories(value: Any, keyword: str) -> None:
    memory = Memory(bytes(16))
    with pytest.raises(InvalidParams) as caught:
        read_tensor(value, "float32", "$.embed", memory)
    assert caught.value.data["keyword"] == keyword


def test_elements_that_lie_where_c_can_not_read_them_are_copied() -> None:
    memory = Memory(b"x" + struct.pack("<2f", 1, 2))
    memory.bytes_of = lambda value, path: memoryview(memory.data)[1:]  # type: ignore[method-assign]
    tensor = read_tensor({"fd": 0}, "float32", "$", memory)
    assert floats(tensor) == [1, 2]
    assert ctypes.addressof(tensor.as_c(ctypes.c_float)) % 4 == 0


def test_what_a_source_refuses_is_refused() -> None:
    with pytest.raises(InvalidHandle):
        read_tensor({"mem": 404}, "float32", "$", Memory(b""))


def test_a_long_string_is_read_as_any_other() -> None:
    data = struct.pack("<3f", 1, 2, 3)
    for value in (LongString(bytearray(data)), {"data": LongString(bytearray(data)), "shape": [3]}):
        assert floats(read_tensor(value, "float32", "$")) == [1, 2, 3]
        assert bytes(read_buffer(value, "uint8", "$").data) == data


def test_a_buffer_says_what_the_client_said() -> None:
    data = struct.pack("<2h", 5, -6)
    assert read_buffer(b64(data), "int8", "$") == Buffer(bytearray(data), None, None)
    assert read_buffer({"data": b64(data)}, "int8", "$") == Buffer(bytearray(data), None, None)
    said = read_buffer({"data": b64(data), "dtype": "int16", "shape": [1, 2]}, "int8", "$")
    assert said == Buffer(bytearray(data), "int16", (1, 2))
    assert said.size == 4
    listed = read_buffer([[1, -2]], "int8", "$")
    assert (bytes(listed.data), listed.dtype, listed.shape) == (b"\x01\xfe", "int8", (1, 2))
    typed = read_buffer({"data": [5, -6], "dtype": "int16"}, "int8", "$")
    assert (bytes(typed.data), typed.dtype, typed.shape) == (data, "int16", (2,))
    mapped = read_buffer({"fd": 0, "dtype": "int4", "shape": [7]}, "int8", "$", Memory(data))
    assert (bytes(mapped.data), mapped.dtype, mapped.shape) == (data, "int4", (7,))


@pytest.mark.parametrize(
    ("value", "keyword"),
    [
        (None, "type"),
        (700, "maximum"),
        ("AAA", "contentEncoding"),
        ({"data": "AAAA", "dtype": "float64"}, "enum"),
        ({"data": "AAAA", "dtype": []}, "enum"),
        ({"data": "AAAA", "dtype": "int8", "shape": [4]}, "shape"),
        ({"data": [1, 2], "shape": [0]}, "shape"),
        ({"data": [1, 2], "shape": []}, "shape"),
        ([128], "maximum"),
        ([1.5], "type"),
        ({"data": [8], "dtype": "int4"}, "maximum"),
        ({"data": [-9], "dtype": "int4"}, "maximum"),
        ({"data": [70000], "dtype": "uint16"}, "maximum"),
        ({}, "required"),
    ],
)
def test_wrong_buffers(value: Any, keyword: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        read_buffer(value, "int8", "$.inputs")
    assert caught.value.data["keyword"] == keyword, caught.value.message
    assert caught.value.data["path"].startswith("$.inputs")


@given(json_values, st.sampled_from(tensors.DTYPES))
def test_only_errors_of_ours_for_buffers(value: Any, dtype: str) -> None:
    try:
        buffer = read_buffer(value, dtype, "$")
    except RpcError:
        return
    assert buffer.size == memoryview(buffer.data).nbytes


@given(json_values, st.sampled_from(["float32", "int32"]))
def test_only_errors_of_ours(value: Any, dtype: str) -> None:
    try:
        tensor = read_tensor(value, dtype, "$")
    except RpcError:
        return
    assert len(memoryview(tensor.data).cast("B")) == 4 * tensor.count


@given(st.dictionaries(st.sampled_from(["data", "dtype", "shape", "fd"]), json_values | st.just("AAAA"), max_size=4))
def test_only_errors_of_ours_for_objects(value: Any) -> None:
    try:
        read_tensor(value, "float32", "$")
    except RpcError:
        return


@given(st.lists(float32s, min_size=1, max_size=50))
def test_out_and_in_again(values: list[float]) -> None:
    memory = (ctypes.c_float * len(values))(*values)
    data = copy_tensor(ctypes.cast(memory, ctypes.POINTER(ctypes.c_float)), len(values))
    ctypes.memset(memory, 0xFF, ctypes.sizeof(memory))  # the runtime takes its memory back
    message = tensor_to_json(data, (1, len(values)))
    assert message["shape"] == [1, len(values)]
    assert floats(read_tensor(message, "float32", "$")) == values


def test_long_data_out() -> None:
    data = bytes(range(256)) * 2000
    text = tensor_to_json(data, (128_000,))["data"]
    assert isinstance(text, LongText)
    assert base64.b64decode(b"".join(text.pieces), validate=True) == data
    assert len(text.pieces) > 1, "never in one piece"


def test_data_that_is_not_long_is_a_string() -> None:
    for size in (0, 1, 3, tensors._LONG_BYTES):
        assert isinstance(tensor_to_json(bytes(size), (size,), "int8")["data"], str)
    assert isinstance(tensor_to_json(bytes(tensors._LONG_BYTES + 1), (1,), "int8")["data"], LongText)


def test_nothing_to_copy() -> None:
    pointer = ctypes.POINTER(ctypes.c_float)
    assert copy_tensor(pointer(), 4) == b""
    assert copy_tensor(pointer(ctypes.c_float(1)), -1) == b""
    assert tensor_to_json(b"", (0, 4)) == {"data": "", "dtype": "float32", "shape": [0, 4]}

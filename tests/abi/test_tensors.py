"""Tensors from JSON into C memory and back."""

from __future__ import annotations

import base64
import ctypes
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.abi import tensors
from rkllmd.abi.tensors import Tensor, copy_tensor, read_tensor, tensor_to_json
from rkllmd.errors import InvalidParams, NotSupported, RpcError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats() | st.text(max_size=9),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=12,
)
float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)


def floats(tensor: Tensor) -> list[float]:
    return list(tensor.as_c(ctypes.c_float))


def ints(tensor: Tensor) -> list[int]:
    return list(tensor.as_c(ctypes.c_int32))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def refused(value: Any, keyword: str, dtype: str = "float32") -> InvalidParams:
    with pytest.raises(InvalidParams) as caught:
        read_tensor(value, dtype, "$.embed")
    assert caught.value.data["keyword"] == keyword, caught.value.message
    assert caught.value.data["path"].startswith("$.embed")
    return caught.value


@given(st.lists(float32s, max_size=50))
def test_numbers(values: list[float]) -> None:
    tensor = read_tensor(values, "float32", "$")
    assert (floats(tensor), tensor.shape, tensor.rows) == (values, (len(values),), ())


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=50))
def test_integers(values: list[int]) -> None:
    assert ints(read_tensor(values, "int32", "$")) == values


def test_many_numbers() -> None:
    values = list(range(20_001))
    assert ints(read_tensor(values, "int32", "$")) == values
    assert floats(read_tensor(values, "float32", "$")) == values


def test_nested() -> None:
    tensor = read_tensor([[[1, 2], [3, 4], [5, 6]]], "float32", "$")
    assert (floats(tensor), tensor.shape, tensor.rows, tensor.count) == ([1, 2, 3, 4, 5, 6], (1, 3, 2), (1, 3), 6)


@pytest.mark.parametrize(
    ("value", "dtype", "keyword"),
    [
        (["x"], "float32", "type"),
        ([None], "int32", "type"),
        ([1.5], "int32", "type"),
        ([{}], "float32", "type"),
        ([2**31], "int32", "maximum"),
        ([-(2**31) - 1], "int32", "maximum"),
        ([1e39], "float32", "maximum"),
        ([1] * 9000 + [-1e39], "float32", "maximum"),
        ([10**400], "float32", "maximum"),
        ([[1], [1, 2]], "float32", "items"),
        ([[1], 2], "float32", "items"),
        ([1, [2]], "float32", "type"),
        ([[], []], "float32", "minItems"),
        (None, "float32", "type"),
        (7, "float32", "type"),
        (True, "float32", "type"),
    ],
)
def test_wrong_numbers(value: Any, dtype: str, keyword: str) -> None:
    refused(value, keyword, dtype)


def test_too_deep() -> None:
    value: Any = 1
    for _ in range(tensors.MAX_RANK):
        value = [value]
    assert read_tensor(value, "int32", "$").shape == (1,) * tensors.MAX_RANK
    refused([value], "maxItems")
    for _ in range(100_000):
        value = [value]
    refused(value, "maxItems")
    while isinstance(value, list):  # or freeing it overflows the C stack of some Pythons
        value = value[0]


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
        ({"data": "AAAAAA==", "shape": []}, "items"),
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
    piece = tensors._CHARACTERS_AT_ONCE
    assert read_tensor("A" * (2 * piece), "float32", "$").count == piece * 2 * 3 // 4 // 4
    refused("A" * (piece - 2) + "==" + "A" * piece, "contentEncoding")


@pytest.mark.parametrize("value", [{"fd": 0, "dtype": "float32", "shape": [1]}, {"mem": 7}])
def test_forms_to_come(value: Any) -> None:
    with pytest.raises(NotSupported, match="not served yet"):
        read_tensor(value, "float32", "$")


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
    assert base64.b64decode(tensor_to_json(data, (128_000,))["data"]) == data


def test_nothing_to_copy() -> None:
    pointer = ctypes.POINTER(ctypes.c_float)
    assert copy_tensor(pointer(), 4) == b""
    assert copy_tensor(pointer(ctypes.c_float(1)), -1) == b""
    assert tensor_to_json(b"", (0, 4)) == {"data": "", "dtype": "float32", "shape": [0, 4]}

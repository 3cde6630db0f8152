"""JSON numbers to the elements of a tensor: each is what was written, or is refused by its place."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.abi.json import tensors
from rkllmd.abi.json.numbers import MAX_RANK
from rkllmd.abi.json.tensors import read_buffer, read_tensor, to_numbers
from rkllmd.errors import InvalidParams
from tests.abi.json.tensor_values import float32s, floats, ints, refused


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
        (None, "float32", "type"),
        (7, "float32", "type"),
        (True, "float32", "type"),
    ],
)
def test_wrong_numbers(value: Any, dtype: str, keyword: str) -> None:
    refused(value, keyword, dtype)


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert ints(read_tensor([1.0, -2.0, 3], "int32", "$")) == [1, -2, 3]


def test_a_float_that_need_not_be_what_was_written_is_no_integer() -> None:
    """9007199254740993.0 is 9007199254740992 when it has been read, and -9223372036854775809 is a float."""
    for text in (b"9007199254740993.5", b"1e18", b"9223372036854775808.0", b"-9223372036854775809"):
        with pytest.raises(InvalidParams) as caught:
            read_buffer([1, orjson.loads(text)], "int64", "$")
        assert caught.value.data["path"] == "$[1]"


def test_the_first_number_that_is_wrong_is_named() -> None:
    assert refused([[[1, 2]], [[3, 2**31]]], "maximum", "int32").data["path"] == "$.embed[1][0][1]"
    assert refused([1.0] * 9000 + ["x"], "type", "int32").data["path"] == "$.embed[9000]"
    assert refused({"data": [1, 1e39]}, "maximum").data["path"] == "$.embed.data[1]"


def test_too_deep() -> None:
    value: Any = 1
    for _ in range(MAX_RANK):
        value = [value]
    assert read_tensor(value, "int32", "$").shape == (1,) * MAX_RANK
    refused([value], "maxItems")
    for _ in range(100_000):
        value = [value]
    refused(value, "maxItems")
    while isinstance(value, list):  # or freeing it overflows the C stack of some Pythons
        value = value[0]


@given(st.data(), st.sampled_from(tensors.DTYPES))
def test_numbers_of_every_dtype_come_back(data: st.DataObject, dtype: str) -> None:
    bits = {"int4": 4}.get(dtype, 8 * tensors.ITEM_SIZES.get(dtype, 1))
    unsigned = dtype.startswith("uint")
    elements: st.SearchStrategy[Any] = st.integers(
        0 if unsigned else -(2 ** (bits - 1)), 2 ** (bits - (not unsigned)) - 1
    )
    if dtype == "bool":
        elements = st.booleans()
    elif "float" in dtype:
        # Exact in each of them: 7 bits of mantissa.
        elements = st.integers(-127, 127).map(lambda number: number / 4)
    values = data.draw(st.lists(elements, min_size=1, max_size=40))
    buffer = read_buffer(values, dtype, "$")
    assert (buffer.dtype, buffer.shape, buffer.size) == (dtype, (len(values),), tensors.byte_size(len(values), dtype))
    found = to_numbers(bytes(buffer.data), dtype)
    assert found[: len(values)] == values
    assert len(found) - len(values) == (len(values) % 2 if dtype == "int4" else 0)
    assert [type(number) for number in found[:1]] == [type(values[0])]

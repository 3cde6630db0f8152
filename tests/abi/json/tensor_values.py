"""JSON read as tensors, and what is refused: for the tests of tensors and of their numbers."""

from __future__ import annotations

import base64
import ctypes
from typing import Any

import orjson
import pytest
from hypothesis import strategies as st

from rkllmd.abi.json.tensors import Tensor, read_tensor
from rkllmd.errors import InvalidParams

float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)


def floats(tensor: Tensor) -> list[float]:
    """Return the elements as C has them."""
    return list(tensor.as_c(ctypes.c_float))


def ints(tensor: Tensor) -> list[int]:
    """Return the elements as C has them."""
    return list(tensor.as_c(ctypes.c_int32))


def b64(data: bytes) -> str:
    """Return bytes as JSON has them."""
    return base64.b64encode(data).decode()


def refused(value: Any, keyword: str, dtype: str = "float32") -> InvalidParams:
    """Return the error for a value that can't become a tensor, which names its place and this rule."""
    with pytest.raises(InvalidParams) as caught:
        read_tensor(value, dtype, "$.embed")
    assert caught.value.data["keyword"] == keyword, caught.value.message
    assert caught.value.data["path"].startswith("$.embed")
    orjson.dumps(caught.value.to_json())  # an error that can't be written is none
    return caught.value

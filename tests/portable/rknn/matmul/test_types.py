"""Element types of matrices, and how int4 lies in memory."""

from __future__ import annotations

import numpy as np
import pytest

from rkllmd.abi.layouts.rknn_constants import rknn_tensor_type
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_type
from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.matmul.types import INT4, INT8, byte_size, element_types, pack, unpack


@pytest.mark.parametrize("kind", rknn_matmul_type)
def test_each_type_says_what_its_matrices_are(kind: rknn_matmul_type) -> None:
    named = kind.name.removeprefix("RKNN_").replace("_MM_", " ").replace("_TO_", " ").split()
    assert [item.name.removeprefix("RKNN_TENSOR_") for item in element_types(kind)] == named


def test_there_is_no_other() -> None:
    with pytest.raises(RknnError, match="there is no matmul type 99"):
        element_types(99)


@pytest.mark.parametrize(("kind", "count", "size"), [(INT4, 5, 3), (INT4, 4, 2), (INT8, 5, 5)])
def test_how_many_bytes_elements_take(kind: int, count: int, size: int) -> None:
    assert byte_size(kind, count) == size


@pytest.mark.parametrize("count", [15, 16])
def test_int4_is_two_to_a_byte_the_low_half_first(count: int) -> None:
    values = np.arange(-8, 8, dtype=np.int8)[:count]
    packed = pack(values, INT4)
    assert packed[0] == (0x8 | 0x9 << 4)
    assert packed.size == (count + 1) // 2
    assert unpack(packed, INT4, count).tolist() == values.tolist()


def test_what_is_out_of_range_is_the_limit() -> None:
    assert pack(np.array([200, -200], np.int32), INT8).view(np.int8).tolist() == [127, -128]
    float16 = rknn_tensor_type.RKNN_TENSOR_FLOAT16
    assert unpack(pack(np.array([1.5], np.float32), float16), float16, 1).tolist() == [1.5]

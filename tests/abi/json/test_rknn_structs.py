"""RKNN's structs as JSON: names for enums, arrays as long as they are used, the runtime's table as rows."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.abi.json.rknn_structs import describe, describe_perf, describe_range
from rkllmd.abi.layouts.rknn import rknn_input_output_num, rknn_input_range, rknn_tensor_attr
from rkllmd.abi.layouts.rknn_constants import rknn_tensor_format, rknn_tensor_type
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_io_attr


def test_numbers_are_numbers() -> None:
    assert describe(rknn_input_output_num(1, 2)) == {"n_input": 1, "n_output": 2}


def test_an_attribute_is_written_as_people_read_it() -> None:
    attr = rknn_tensor_attr(index=1, n_dims=2, name=b"caf\xc3\xa9 \xff", scale=0.1, zp=-3)
    attr.dims[0], attr.dims[1], attr.dims[2] = 4, 5, 6
    attr.type, attr.fmt = rknn_tensor_type.RKNN_TENSOR_INT8, rknn_tensor_format.RKNN_TENSOR_NHWC
    described = describe(attr)
    assert described["dims"] == [4, 5], "no more than are used"
    assert (described["type"], described["fmt"]) == ("RKNN_TENSOR_INT8", "RKNN_TENSOR_NHWC")
    assert (described["name"], described["zp"]) == ("café \ufffd", -3)
    assert described["scale"] == 0.1, "the shortest number that means the same float"


@pytest.mark.parametrize(("n_dims", "count"), [(0, 0), (16, 16), (2**32 - 1, 16)])
def test_a_runtime_that_counts_more_dimensions_than_there_are_is_not_believed(n_dims: int, count: int) -> None:
    assert describe(rknn_tensor_attr(n_dims=n_dims))["dims"] == [0] * count


def test_a_number_that_is_no_member_of_its_enum_stays_a_number() -> None:
    assert describe(rknn_tensor_attr(type=99))["type"] == 99


def test_a_struct_in_a_struct_is_an_object() -> None:
    described = describe(rknn_matmul_io_attr())
    assert described.keys() == {"A", "B", "C"}
    assert described["A"]["dims"] == []


def test_the_shapes_that_an_input_may_have() -> None:
    struct = rknn_input_range(shape_number=2, n_dims=2, name=b"in")
    for number, shape in enumerate([(1, 8), (2, 8), (9, 9)]):
        struct.dyn_range[number][0], struct.dyn_range[number][1] = shape
    described = describe_range(struct)
    assert described["shapes"] == [[1, 8], [2, 8]]
    assert (described["name"], described["shape_number"]) == ("in", 2)
    assert "dyn_range" not in described


@pytest.mark.parametrize(("shape_number", "n_dims"), [(2**32 - 1, 1), (1, 2**32 - 1)])
def test_a_runtime_that_counts_more_shapes_than_there_are_is_not_believed(shape_number: int, n_dims: int) -> None:
    shapes = describe_range(rknn_input_range(shape_number=shape_number, n_dims=n_dims))["shapes"]
    assert (len(shapes), len(shapes[0])) == (min(shape_number, 512), min(n_dims, 16))


TABLE = """\
Network Layer Information Table
ID   OpType       Time(us)  Share
7    TooEarly
ID   OpType       DataType  Time(us)  Share
1    InputOp      INT8      12        0.50%
2    Conv         INT8      3.25      nan
3    Conv         INT8
Total             15
"""


def test_the_table_of_layers_is_rows_by_its_own_columns() -> None:
    described: dict[str, Any] = describe_perf(TABLE)
    assert described["perf_data"] == TABLE
    first, second = described["rows"]
    assert first == {"ID": 1, "OpType": "InputOp", "DataType": "INT8", "Time(us)": 12, "Share": "0.50%"}
    assert (second["Time(us)"], repr(second["Share"])) == (3.25, "nan")


@pytest.mark.parametrize("text", ["", "no table\n1 2 3\n"])
def test_text_without_a_table_has_no_rows(text: str) -> None:
    assert describe_perf(text) == {"perf_data": text, "rows": []}

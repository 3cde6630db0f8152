"""A number in JSON is the element that the model gets, exactly, or it is refused by its path; on every runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.portable.rknn.graphs import identity, model
from tests.rknn.board import Client, b64, numbers, tensor

# dtype → ONNX's type, and numbers that float32 does not hold, or that are at the type's ends.
INTEGERS: dict[str, tuple[int, list[int]]] = {
    "int8": (TensorProto.INT8, [-128, 127, 0, -1]),
    "uint8": (TensorProto.UINT8, [255, 0, 128, 1]),
    "int16": (TensorProto.INT16, [-32768, 32767, 300, -1]),
    "uint16": (TensorProto.UINT16, [65535, 0, 32768, 1]),
    "int32": (TensorProto.INT32, [16777217, 123456789, 2147483647, -2147483648]),
    "uint32": (TensorProto.UINT32, [16777217, 4294967295, 0, 2147483649]),
    "int64": (TensorProto.INT64, [16777217, 9223372036854775807, -9223372036854775808, 9007199254740993]),
    "bool": (TensorProto.BOOL, [1, 0, 0, 1]),
}
RUNTIMES = ["portable", "simulator"]


@pytest.fixture
def wire(request: pytest.FixtureRequest) -> Client:
    client: Client = request.getfixturevalue(request.param)
    return client


def load(wire: Client, dtype: str, runtime: str) -> int:
    """Load a model whose output is its input, four elements of ``dtype``."""
    if runtime == "portable":
        return wire.load(identity(INTEGERS[dtype][0], [4]))
    return wire.load(f"RKNNSIM\ninput name=x type={dtype} dims=4\noutput name=y type={dtype} dims=4\n".encode())


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize(("wire", "runtime"), [(name, name) for name in RUNTIMES], indirect=["wire"])
def test_every_integer_arrives_as_it_was_written(wire: Client, runtime: str, dtype: str) -> None:
    load(wire, dtype, runtime)
    given = INTEGERS[dtype][1]
    expected = [bool(number) for number in given] if dtype == "bool" else given
    forms: list[Any] = [
        [given],
        {"data": given},
        [{"buf": given}],
        [{"buf": {"data": given, "dtype": dtype, "shape": [2, 2]}}],
        [{"buf": given, "type": f"RKNN_TENSOR_{dtype.upper()}"}],
        [{"buf": given, "pass_through": True}],
        [{"buf": expected}],
    ]
    if max(map(abs, given)) < 2**53:
        forms.append([[float(number) for number in given]])  # 1.0 is a whole number to JSON
    for form in forms:
        (output,) = wire.result("rknn.infer", {"inputs": form, "encoding": "array"})["outputs"]
        assert (output["dtype"], output["data"]) == (dtype, expected), form
        (output,) = wire.result("rknn.infer", {"inputs": form})["outputs"]
        assert numbers(output).tolist() == expected


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize(("wire", "runtime"), [(name, name) for name in RUNTIMES], indirect=["wire"])
def test_what_the_type_can_not_hold_is_refused_by_its_path(wire: Client, runtime: str, dtype: str) -> None:
    load(wire, dtype, runtime)
    info = np.iinfo(dtype) if dtype != "bool" else None
    low, high = (0, 1) if info is None else (int(info.min), int(info.max))
    for wrong, keyword in ((high + 1, "maximum"), (low - 1, "maximum"), (0.5, "type"), (1e300, "maximum")):
        data = wire.refused("rknn.infer", {"inputs": [[[1, 1], [wrong, 1]]]})
        assert (data["code"], data["kind"], data["keyword"]) == (-32602, "InvalidParams", keyword), wrong
        assert data["path"] == "$.inputs[0][1][0]"
        assert wire.refused("rknn.infer", {"inputs": [{"buf": [1, 1, 1, wrong]}]})["path"] == "$.inputs[0].buf[3]"
        given = {"data": [1, wrong, 1, 1], "dtype": dtype}
        assert wire.refused("rknn.infer", {"inputs": given})["path"] == "$.inputs.data[1]"
    assert wire.refused("rknn.infer", {"inputs": [[1, 1, None, 1]]})["path"] == "$.inputs[0][2]"


def test_the_real_numbers_of_a_quantised_input_may_have_fractions(portable: Client) -> None:
    portable.load(identity(TensorProto.INT8, [4], {"rknn_quant": '{"x": [0.5, -3], "y": [0.5, -3]}'}))
    assert portable.infer([[0.5, -1.5, 1000, -1000]])[0].tolist() == [-2, -6, 127, -128]


def test_a_number_that_becomes_infinite_is_refused(portable: Client) -> None:
    for kind, wrong in ((TensorProto.FLOAT16, 65520), (TensorProto.FLOAT, 3.5e38)):
        context = portable.load(identity(kind, [4]))
        for given in ([[1, 2, wrong, 4]], [[1, 2, -wrong, 4]]):
            data = portable.refused("rknn.infer", {"context": context, "inputs": given})
            assert (data["path"], data["keyword"]) == ("$.inputs[0][2]", "maximum")
    context = portable.load(identity(TensorProto.FLOAT16, [2]))
    typed = {"context": context, "inputs": {"data": [1, 70000], "dtype": "float16"}}
    assert portable.refused("rknn.infer", typed)["path"] == "$.inputs.data[1]"
    assert portable.infer([[65504, -65504]], context)[0].tolist() == [65504, -65504]


@pytest.mark.parametrize(("wire", "runtime"), [(name, name) for name in RUNTIMES], indirect=["wire"])
def test_numbers_of_a_memory_are_exact(wire: Client, runtime: str) -> None:
    mem = wire.memory(load(wire, "int64", runtime), bytes(32))
    values = INTEGERS["int64"][1]
    sync = {"mem": mem, "mode": "RKNN_MEMORY_SYNC_TO_DEVICE", "dtype": "int64", "encoding": "array"}
    assert wire.result("rknn.mem_sync", {**sync, "data": values, "read": True})["data"] == values
    data = wire.refused("rknn.mem_sync", {**sync, "data": [1, 2, 2**63, 4]})
    assert (data["path"], data["keyword"]) == ("$.data[2]", "maximum")


def test_the_best_of_integers_is_not_decided_by_float32(portable: Client) -> None:
    portable.load(identity(TensorProto.INT64, [4]))
    portable.result("rknn.inputs_set", {"inputs": [{"buf": [16777216, 16777218, 16777217, 2**62 + 1]}]})
    (output,) = portable.result("rknn.run", {"outputs": True, "top_k": 3})["outputs"]
    assert output["top"] == [
        {"index": 3, "score": 2**62 + 1},
        {"index": 1, "score": 16777218},
        {"index": 2, "score": 16777217},
    ]
    assert portable.result("rknn.outputs_get", {"top_k": 3})["outputs"][0]["top"] == output["top"]
    named = portable.result("rknn.outputs_get", {"outputs": [{"index": 0}], "top_k": 3})["outputs"][0]
    assert named["top"] == output["top"]


def test_nan_sorts_last_and_is_told(portable: Client) -> None:
    five: tuple[int, list[Any]] = (TensorProto.FLOAT, [5])
    portable.load(model([helper.make_node("Log", ["x"], ["y"])], {"x": five}, {"y": five}))
    given = [[-1, 3, 0, 1.5, -2]]  # NaN, 1.0986123, -infinity, 0.4054651, NaN
    (output,) = portable.result("rknn.infer", {"inputs": given, "top_k": 1})["outputs"]
    assert (output["top"], output["nan"]) == ([{"index": 1, "score": 1.0986123}], 2)
    (output,) = portable.result("rknn.infer", {"inputs": given, "top_k": 9})["outputs"]
    assert output["top"] == [
        {"index": 1, "score": 1.0986123},
        {"index": 3, "score": 0.4054651},
        {"index": 2, "score": None},
        {"index": 0, "score": None, "nan": True},
        {"index": 4, "score": None, "nan": True},
    ]
    (output,) = portable.result("rknn.infer", {"inputs": [[1, 2, 3, 4, 5]], "top_k": 1})["outputs"]
    assert "nan" not in output


@pytest.mark.parametrize("dtype", [name for name in INTEGERS if name != "bool"])
def test_floats_beyond_an_integers_range_saturate(portable: Client, dtype: str) -> None:
    """The same on every machine: C leaves it undefined, x86 and ARM differ."""
    portable.load(identity(INTEGERS[dtype][0], [6]))
    given = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 1.75], np.float32)
    limits = np.iinfo(dtype)
    (found,) = portable.infer([{"buf": tensor(given)}])
    assert found.tolist() == [0, limits.max, limits.min, limits.max, limits.min, 1]


def test_integers_beyond_a_narrower_ones_range_saturate(portable: Client) -> None:
    portable.load(identity(TensorProto.INT8, [3]))
    wide = {"buf": {"data": b64(np.array([2**40, -(2**40), 5])), "dtype": "int64"}, "type": "RKNN_TENSOR_INT64"}
    assert portable.infer([wide])[0].tolist() == [127, -128, 5]


@pytest.mark.parametrize(("dtype", "zero"), [("int8", -3), ("uint8", 3), ("int16", 7), ("int32", 11)])
def test_quantising_saturates_and_makes_nan_the_zero_point(portable: Client, dtype: str, zero: int) -> None:
    metadata = {"rknn_quant": f'{{"x": [0.5, {zero}]}}'}
    portable.load(identity(INTEGERS[dtype][0], [5], metadata))
    given = np.array([np.nan, np.inf, -np.inf, 1e30, 1], np.float32)
    limits = np.iinfo(dtype)
    assert portable.infer([{"buf": tensor(given)}])[0].tolist() == [zero, limits.max, limits.min, limits.max, zero + 2]

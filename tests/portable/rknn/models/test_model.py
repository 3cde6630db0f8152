"""What a graph and its metadata say about its tensors, and what a run on zeros shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto

from rkllmd.abi.layouts.rknn_constants import rknn_tensor_type
from rkllmd.portable.rknn.models import model as models
from rkllmd.portable.rknn.models.model_file import ModelFile
from rkllmd.portable.rknn.tensors.tensors import Tensor
from tests.portable.rknn import graphs
from tests.portable.rknn.client import (
    MODEL,
    OK,
    C,
    attr,
    dims,
    init,
    load,
)
from tests.portable.rknn.conftest import Line
from tests.portable.rknn.graphs import identity


def test_a_run_on_zeros_that_does_not_end_leaves_the_shape_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_LEARN_SECONDS", 0.1)
    context = load(graphs.forever_on_zeros())
    assert dims(attr(context, "OUTPUT")) == (1,)
    assert C["rknn_destroy"](context) == OK


def test_types_that_rknn_does_not_have(line: Line) -> None:
    assert init(identity(TensorProto.DOUBLE, [1]))[0] == MODEL
    assert "tensor(double)" in line()
    assert init(identity(TensorProto.FLOAT, [1] * 17))[0] == MODEL
    assert "17 dimensions" in line()


@pytest.mark.parametrize(
    "metadata",
    [
        {"rknn_quant": "no JSON"},
        {"rknn_quant": "[]"},
        {"rknn_quant": '{"x": 1}'},
        {"rknn_quant": '{"x": [0, 1]}'},
        {"rknn_quant": '{"x": [0.5, 200]}'},
        {"rknn_quant": '{"z": [0.5, 0]}'},
        {"rknn_dynamic_shapes": "1"},
        {"rknn_dynamic_shapes": "[]"},
        {"rknn_dynamic_shapes": "[[[2, 4]]]"},
        {"rknn_dynamic_shapes": "[[[1, 3], [1, 3]]]"},
    ],
)
def test_wrong_metadata(metadata: dict[str, str], line: Line) -> None:
    assert init(identity(TensorProto.INT8, ["n", 3], metadata))[0] == MODEL
    assert "rknn_" in line()


def read(content: bytes, tmp_path: Path) -> models.Model:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    return models.Model(ModelFile.from_path(str(path), 0, 0), profiled=False)


@pytest.mark.parametrize(
    ("shape", "first", "is_static"), [([2, 3], [(2, 3)], True), (["rows", 3], [(1, 3)], False), ([], [()], False)]
)
def test_what_the_graph_does_not_say_of_a_shape_is_1_at_the_start(
    tmp_path: Path, shape: list[Any], first: list[Any], is_static: bool
) -> None:
    found = read(identity(TensorProto.FLOAT, shape), tmp_path)
    assert (found.first_shapes(), found.is_static) == (first, is_static)


def test_a_symbolic_dimension_of_an_output_is_that_of_the_input(tmp_path: Path) -> None:
    found = read(identity(TensorProto.FLOAT, ["rows", 3]), tmp_path)
    assert found.output_shapes([(5, 3)], may_run=False) == [(5, 3)]


def test_a_session_goes_with_its_last_context(tmp_path: Path) -> None:
    found = read(identity(TensorProto.FLOAT, [1]), tmp_path)
    assert found.share() is found
    found.release()
    assert found.session.graph()
    found.release()
    assert not hasattr(found, "session")


@pytest.mark.parametrize(
    ("dims", "shape", "fit"),
    [
        ((2, 3), (2, 3), True),
        ((2, 3), (2, 4), False),
        ((2, "n"), (2, 0), True),
        ((2, None), (2, 7), True),
        ((2, "n"), (2, 7, 1), False),
        ((2, "n"), (2, -1), False),
        ((), (1,) * 16, True),
        ((), (1,) * 17, False),
        ((1, "n"), (1, 2**29), True),
        ((1, "n"), (1, 2**29 + 1), False),
    ],
)
def test_which_shapes_fit(dims: Any, shape: tuple[int, ...], fit: bool) -> None:
    tensor = Tensor(0, "x", rknn_tensor_type.RKNN_TENSOR_FLOAT32, dims, None)
    assert models.fits(tensor, shape) is fit

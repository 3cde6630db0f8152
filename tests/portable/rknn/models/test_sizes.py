"""How much memory a context takes beside its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto

from rkllmd.portable.rknn.models import sizes
from rkllmd.portable.rknn.models.context import Context
from rkllmd.portable.rknn.models.model import Model
from rkllmd.portable.rknn.models.model_file import ModelFile
from tests.portable.rknn.graphs import identity


@pytest.mark.parametrize(("kind", "size"), [(TensorProto.FLOAT, 4), (TensorProto.INT8, 1), (TensorProto.INT64, 8)])
def test_inputs_and_outputs_count_in_the_shapes_that_are_set(tmp_path: Path, kind: int, size: int) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(identity(kind, ["rows", 5]))
    context = Context.of(Model(ModelFile.from_path(str(path), 0, 0), profiled=False), 0)
    context.set_shapes({0: (3, 5)})
    assert sizes.internal(context) == 2 * 3 * 5 * size
    context.destroy()

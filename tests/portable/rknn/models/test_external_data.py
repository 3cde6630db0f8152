"""The names of files beside an ONNX model, read from its bytes."""

from __future__ import annotations

import io
from pathlib import Path

import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from rkllmd.portable.rknn.models import external_data
from tests.portable.rknn.models.external import outside


def model() -> onnx.ModelProto:
    """Return a model with tensors in every place that may hold one."""
    inner = helper.make_graph([], "inner", [], [], [outside("in a subgraph")])
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner),
        helper.make_node("Constant", [], ["k"], value=outside("in an attribute")),
    ]
    function = helper.make_function(
        "d", "f", [], ["k"], [helper.make_node("Constant", [], ["k"], value=outside("in a function"))], []
    )
    graph = helper.make_graph(nodes, "g", [], [], [outside("weights"), outside("weights")])
    sparse = graph.sparse_initializer.add()
    sparse.values.CopyFrom(outside("sparse"))
    return helper.make_model(graph, functions=[function])


def test_every_place_that_holds_a_tensor() -> None:
    found = external_data.names(io.BytesIO(model().SerializeToString()))
    assert sorted(found) == ["in a function", "in a subgraph", "in an attribute", "sparse", "weights"]


def test_only_files_below_the_models_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    names = ["weights", "absent", "../secret", "/etc/passwd", "link", "a\0b"]
    graph = helper.make_graph([], "g", [], [], [outside(name) for name in names])
    path = folder / "m.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    for file in (folder / "weights", tmp_path / "secret"):
        file.write_bytes(bytes(4))
    (folder / "link").symlink_to(tmp_path / "secret")
    assert external_data.files(str(path)) == {"weights": str((folder / "weights").resolve())}


@given(data=st.binary(max_size=200))
def test_no_content_breaks_the_reader(data: bytes) -> None:
    external_data.names(io.BytesIO(data))
    external_data.names(io.BytesIO(b"\x3a" + bytes([len(data) % 128]) + data))

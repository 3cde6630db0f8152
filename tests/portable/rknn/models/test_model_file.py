"""Where the bytes of a model are: in memory, in a file, in a part of one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from rkllmd.abi.layouts.rknn import rknn_init_extend
from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.models.model_file import ModelFile
from tests.portable.rknn.client import MODEL, OK, descriptors, init, load
from tests.portable.rknn.conftest import Line
from tests.portable.rknn.floats import runs_and_ends
from tests.portable.rknn.graphs import floats


def test_from_memory() -> None:
    runs_and_ends(load(floats()))


def test_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mödel.onnx"
    path.write_bytes(floats())
    runs_and_ends(load(str(path)))


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("tail", [b"", b"something else"])
def test_from_a_part(tmp_path: Path, in_memory: bool, tail: bytes) -> None:
    content = b"header" + floats() + tail
    path = tmp_path / "container"
    path.write_bytes(content)
    extend = rknn_init_extend(real_model_offset=6, real_model_size=len(floats()) if tail else 0)
    code, context = init(content if in_memory else str(path), 0, extend)
    assert code == OK
    runs_and_ends(context)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(("offset", "size"), [(-1, 5), (0, 10**6), (10**6, 0), (5, 2**32 - 1)])
def test_a_part_that_is_not_there(tmp_path: Path, in_memory: bool, offset: int, size: int, line: Line) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(floats())
    extend = rknn_init_extend(real_model_offset=offset, real_model_size=size)
    assert init(floats() if in_memory else str(path), 0, extend) == (MODEL, 0)
    assert "is not within" in line()


def test_what_is_no_model(tmp_path: Path, line: Line) -> None:
    assert init(b"not a model") == (MODEL, 0)
    line()
    assert init(b"RKNN\0\0\0\0") == (MODEL, 0)
    assert "give the .onnx model" in line()
    (tmp_path / "m.rknn").write_bytes(b"RKNN\0")
    assert init(str(tmp_path / "m.rknn")) == (MODEL, 0)
    assert "give the .onnx model" in line()
    assert init(b"GGUF\3\0\0\0") == (MODEL, 0)
    assert "rkllm.init" in line()
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent", "empty", "pipe", "."):
        assert init(str(tmp_path / name)) == (MODEL, 0)
        line()
    assert init("") == (MODEL, 0)
    line()


def test_a_whole_file_keeps_its_name_so_that_weights_beside_it_are_found(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"0123456789")
    with ModelFile.from_path(str(path), 0, 0) as whole, ModelFile.from_path(str(path), 2, 5) as part:
        assert (whole.path, whole.size) == (str(path), 10)
        assert (Path(part.path).read_bytes(), part.size) == (b"23456", 5)


def test_another_object_for_the_same_file_is_closed_by_itself() -> None:
    content = np.frombuffer(b"0123456789", np.uint8)
    made = ModelFile.from_memory(content.ctypes.data, 10, 1, 3)
    again = made.again()
    assert again.path != made.path
    made.close()
    assert Path(again.path).read_bytes() == b"123"
    again.close()
    again.close()
    assert not Path(again.path).exists()


def test_a_file_that_becomes_shorter_while_it_is_read_is_no_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"0123456789")
    before = descriptors()
    monkeypatch.setattr(os, "pread", lambda *_: b"")
    with pytest.raises(RknnError, match="became shorter"):
        ModelFile.from_path(str(path), 1, 0)
    assert descriptors() == before

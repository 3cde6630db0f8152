"""Sessions of ONNX Runtime: when a profiled one is replaced, and that nothing of it is left."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.models import session
from rkllmd.portable.rknn.models.session import ProfiledSession, Session
from tests.portable.rknn.client import descriptors
from tests.portable.rknn.graphs import floats, with_weights_beside

FEEDS: Any = {"x": np.ones((1, 3, 4, 4), np.float32)}


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = tmp_path / "model.onnx"
    path.write_bytes(floats())
    return str(path)


def test_without_profiling_there_are_no_layers(path: str) -> None:
    made = Session(path)
    made.prepare().run(None, FEEDS, session.engine().RunOptions())
    assert made.layers() == []
    assert made.prepare() is made.graph()


def test_the_layers_of_a_run_are_told_once_and_the_next_run_has_a_new_session(path: str) -> None:
    made = ProfiledSession(path)
    first = made.prepare()
    first.run(None, FEEDS, session.engine().RunOptions())
    assert made.layers() != []
    assert made.layers() == []
    second = made.prepare()
    assert second is not first
    second.run(None, FEEDS, session.engine().RunOptions())
    assert made.layers() != []
    made.close()


def test_a_session_that_has_measured_many_runs_is_replaced(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_RUNS_TO_A_PROFILE", 2)
    made = ProfiledSession(path)
    used = [made.prepare() for _ in range(5)]
    assert [used[0] is used[1], used[1] is used[2], used[2] is used[3], used[3] is used[4]] == [
        True,
        False,
        True,
        False,
    ]
    made.close()


def test_nothing_of_a_profile_is_left(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = descriptors()
    made = ProfiledSession(path)
    made.prepare().run(None, FEEDS, session.engine().RunOptions())
    made.leave_run()
    made.prepare().run(None, FEEDS, session.engine().RunOptions())
    made.layers()
    made.close()
    assert list(folder.iterdir()) == []
    assert descriptors() == before


def test_a_model_without_the_files_beside_it_says_what_to_give(tmp_path: Path) -> None:
    descriptor = os.memfd_create("model")
    try:
        os.write(descriptor, with_weights_beside())
        with pytest.raises(RknnError, match="give the path of the model's file"):
            Session(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    nothing = tmp_path / "model.onnx"
    nothing.write_bytes(b"nothing")
    with pytest.raises(RknnError, match=r"^ONNX Runtime refuses the model: "):
        Session(str(nothing))

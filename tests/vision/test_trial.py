"""Which RKNN models are tried, what the trial is given, and what its verdict depends on."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.portable import demo
from rkllmd.portable.rknn.models import external_data
from rkllmd.vision import trial

CONTENT = memoryview(b"a model")


def room(trial_loads: str = "always", *, name: str = "vendor", layout: str = "auto", version: str = "2.3.2") -> Any:
    library = SimpleNamespace(path=Path("/lib/librknnrt.so"), version=version)
    return SimpleNamespace(
        config=SimpleNamespace(trial_loads=trial_loads, rknn_layout=layout),
        runtime=SimpleNamespace(name=name, library=library),
        memory_guard=SimpleNamespace(left_bytes=lambda: 70),
    )


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "model.rknn"
    path.write_bytes(b"weights")
    return str(path)


def key(path: str, *part: int, **more: Any) -> str:
    found = trial.of_file(room(**more), path, *(part or (0, 0)))
    assert found is not None
    return found.key


def test_the_trial_loads_what_the_call_would(model: str) -> None:
    found = trial.of_file(room(layout="2.3.2"), model, 3, 4)
    assert found is not None
    assert (found.path, found.content, found.ends_with_client) == (model, None, True)
    assert found.request == {
        "runtime": "rknn",
        "library": "/lib/librknnrt.so",
        "layout": "2.3.2",
        "model_path": model,
        "offset": 3,
        "part": 4,
        "tensor_bytes": 70,
    }


def test_bytes_that_a_client_has_sent_are_in_no_file() -> None:
    found = trial.of_bytes(room(), CONTENT)
    assert found is not None
    assert (found.path, found.content, found.ends_with_client) == ("The model", CONTENT, True)
    assert (found.request["model_path"], found.request["layout"]) == (None, None)


def test_the_portable_runtime_is_no_library() -> None:
    found = trial.of_bytes(room(name="portable"), CONTENT)
    assert found is not None
    assert found.request["library"] is None


@pytest.mark.parametrize(
    ("setting", "name", "tried"),
    [("never", "portable", False), ("auto", "vendor", False), ("auto", "portable", True), ("always", "vendor", True)],
)
def test_what_the_configuration_does_not_want_is_not_tried(model: str, setting: str, name: str, tried: bool) -> None:
    assert (trial.of_file(room(setting, name=name), model, 0, 0) is not None) is tried
    assert (trial.of_bytes(room(setting, name=name), CONTENT) is not None) is tried


def test_what_is_the_packages_own_is_not_tried() -> None:
    ours = Path(demo.__file__).parent / "digits.onnx"
    assert trial.of_file(room(name="portable"), str(ours), 0, 0) is None


def test_a_verdict_is_of_this_very_file_part_and_runtime(model: str) -> None:
    first = key(model)
    assert key(model) == first
    others = [key(model, 1, 0), key(model, 0, 1), key(model, version="2.3.3"), key(model, name="portable")]
    os.utime(model, (1, 1))
    others.append(key(model))
    bytes_of = [trial.of_bytes(room(), memoryview(content)) for content in (b"a", b"b")]
    others += [found.key for found in bytes_of if found is not None]
    assert len({first, *others}) == 8


@pytest.mark.parametrize(
    ("name", "part", "follows"), [("portable", 0, True), ("portable", 4, False), ("vendor", 0, False)]
)
def test_weights_beside_an_onnx_graph_are_a_part_of_it(
    monkeypatch: pytest.MonkeyPatch, model: str, tmp_path: Path, name: str, part: int, follows: bool
) -> None:
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"1")
    monkeypatch.setattr(external_data, "files", lambda _: {"weights.bin": str(weights)})
    before = key(model, 0, part, name=name)
    weights.write_bytes(b"22")
    assert (key(model, 0, part, name=name) != before) is follows

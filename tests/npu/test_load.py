"""How far a load is: what was read since it began, and how long this very model takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkllmd.npu import load
from rkllmd.npu.load import Load, bytes_read

MIB = 2**20


class Reads:
    """What the process has read, as the test says."""

    def __init__(self) -> None:
        self.bytes: int | None = 5000

    def __call__(self) -> int | None:
        """Return it."""
        return self.bytes


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.rkllm"
    path.write_bytes(bytes(1000))
    return path


def test_what_this_process_reads_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(MIB))
    before = bytes_read()
    path.read_bytes()
    after = bytes_read()
    assert before is not None
    assert after is not None
    assert after - before >= MIB


def test_a_load_shows_the_bytes_read_since_it_began(model: Path) -> None:
    reads = Reads()
    load = Load(str(model), reads)
    load.begin()
    assert load.to_json(1.0, None) == {
        "phase": "load",
        "bytes_read": 0,
        "bytes": 1000,
        "fraction": None,
        "expected_ms": None,
    }
    reads.bytes = 5250
    assert load.to_json(2.0, None)["bytes_read"] == 250
    assert load.to_json(2.0, None)["fraction"] == 0.25
    reads.bytes = 9000  # others of this process read as well
    assert load.to_json(3.0, None)["bytes_read"] == 1000
    assert load.to_json(3.0, None)["fraction"] == 1


def test_a_load_whose_time_is_known_goes_by_that(model: Path) -> None:
    reads = Reads()
    load = Load(str(model), reads)
    load.begin()
    reads.bytes = 6000
    assert load.to_json(200.0, 1000.0)["fraction"] == 0.2, "reading is a part of a load only"
    assert load.to_json(200.0, 1000.0)["bytes_read"] == 1000
    assert load.to_json(5000.0, 1000.0)["fraction"] == 1, "it takes longer than ever"


def test_the_fraction_never_falls(model: Path) -> None:
    load = Load(str(model), Reads())
    load.begin()
    assert load.to_json(500.0, 1000.0)["fraction"] == 0.5
    assert load.to_json(600.0, 2000.0)["fraction"] == 0.5
    assert load.to_json(700.0, None)["fraction"] == 0.5


@pytest.mark.parametrize("path", ["", "/nonexistent/model.rkllm"])
def test_a_load_without_a_file_or_without_figures(path: str) -> None:
    reads = Reads()
    reads.bytes = None
    load = Load(path, reads)
    assert load.to_json(0.0, None)["bytes_read"] is None, "it has not begun"
    load.begin()
    assert load.to_json(1.0, 10.0) == {
        "phase": "load",
        "bytes_read": None,
        "bytes": None,
        "fraction": 0.1,
        "expected_ms": 10.0,
    }


def test_a_kernel_that_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(load, "_IO", tmp_path / "missing")
    assert bytes_read() is None
    (tmp_path / "missing").write_text("rchar: x\n")
    assert bytes_read() is None

"""RKNN's simulator with a scenario, and what it complains of."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon import rknn_simulator
from tests.simulator.rknn_player import RknnSimulator
from tests.simulator.tests.rknn.models import Script


@pytest.fixture
def built() -> Path:
    return rknn_simulator()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return lambda text: monkeypatch.setenv("RKNN_SIMULATOR", text)


@pytest.fixture
def complaints() -> list[str]:
    """Return what the test expects the simulator to complain about: parts of its lines, in order."""
    return []


@pytest.fixture
def simulator(
    built: Path, tmp_path: Path, script: Script, capfd: pytest.CaptureFixture[str], complaints: list[str]
) -> Iterator[RknnSimulator]:
    """Give a copy of its own, so that its counters start at zero; at the end, judge what it said."""
    script("log=none")
    yield RknnSimulator(Path(shutil.copy(built, tmp_path)))
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("SIMULATOR:")]
    assert len(said) == len(complaints), said
    for line, expected in zip(said, complaints, strict=True):
        assert expected in line


@pytest.fixture
def traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[str]]]:
    path = tmp_path / "trace"
    monkeypatch.setenv("RKLLM_SIMULATOR_TRACE", str(path))
    return lambda: [line.split() for line in path.read_text().splitlines()]

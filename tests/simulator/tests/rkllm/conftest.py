"""The simulator in each layout, and a model of it with a scenario."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon import simulator as built_simulator
from tests.simulator.player import Model, Simulator

VERSIONS = {"1.2": "1.2.3", "1.3": "1.3.0", "1.3.1": "1.3.1"}
Script = Callable[[str], None]


@pytest.fixture(params=VERSIONS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def library(layout: str, tmp_path: Path) -> Path:
    """Return a copy of its own, so that its counters start at zero."""
    return Path(shutil.copy(built_simulator(VERSIONS[layout], layout), tmp_path))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return lambda text: monkeypatch.setenv("RKLLM_SIMULATOR", text)


@pytest.fixture
def simulator(layout: str, library: Path, script: Script) -> Simulator:
    script("")
    return Simulator(layout, library)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.rkllm"
    path.write_bytes(b"SIMMODEL")
    return path


@pytest.fixture
def load(simulator: Simulator, model_file: Path, script: Script) -> Callable[..., Model]:
    def load_with(text: str = "", **options: object) -> Model:
        script(text)
        return simulator.load(model_file, **options)  # type: ignore[arg-type]

    return load_with

"""No configuration of this machine in the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkllmd.config import sources


@pytest.fixture(autouse=True)
def no_file_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "DEFAULT_FILE", tmp_path / "absent.toml")

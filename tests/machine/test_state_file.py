"""What is kept across restarts: a file that makes no sense is as good as none, and a failure stops nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rkllmd.machine import state_file

NOTHING: dict[str, int] = {}


def _sizes(content: Any) -> dict[str, int]:
    return {key: int(value) for key, value in content.items()}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sizes.json"
    state_file.write(path, "sizes", {"a": 1})
    state_file.write(path, "sizes", {"a": 2})
    assert state_file.read(path, "sizes", _sizes, NOTHING) == {"a": 2}
    assert [file.name for file in tmp_path.iterdir()] == ["sizes.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": "x"}', b'{"a": null}', b"\xff"])
def test_a_file_that_makes_no_sense_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sizes.json"
    path.write_bytes(content)
    assert state_file.read(path, "sizes", _sizes, {"default": 1}) == {"default": 1}


def test_without_a_place_nothing_is_kept(tmp_path: Path) -> None:
    assert state_file.read(None, "sizes", _sizes, NOTHING) == {}
    assert state_file.read(tmp_path / "absent", "sizes", _sizes, NOTHING) == {}
    state_file.write(tmp_path / "absent" / "sizes.json", "sizes", {"a": 1})
    assert not (tmp_path / "absent").exists()

"""Directories and files that are reached without following a link."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rkllmd.machine.disk.beneath import open_directory, open_file

BOTH = pytest.mark.parametrize("reach", [open_directory, open_file])


def is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    finally:
        os.close(descriptor)


def test_what_is_opened_lies_where_its_path_says(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (below / "file").touch()
    assert is_same(open_directory(str(below), [str(tmp_path)]), below)
    assert is_same(open_directory(str(tmp_path), [str(tmp_path)]), tmp_path)
    assert is_same(open_file(str(below / "file"), ["/"]), below / "file")


def test_a_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert is_same(open_directory(str(tmp_path / "a"), [str(tmp_path / "link")]), tmp_path / "a")


@BOTH
def test_a_directory_that_became_a_link_is_refused(reach: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "b").mkdir(parents=True)
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(NotADirectoryError):
        reach(str(tmp_path / "a" / "b"), [str(tmp_path)])
    assert len(os.listdir("/proc/self/fd")) == before


@BOTH
def test_what_lies_in_no_root_is_refused(reach: Callable[..., int], tmp_path: Path) -> None:
    for name in ("root", "root2"):
        (tmp_path / name / "b").mkdir(parents=True)
    with pytest.raises(PermissionError):
        reach(str(tmp_path / "root2" / "b"), [str(tmp_path / "root")])


def test_a_link_as_the_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to("real")
    assert not is_same(open_file(str(tmp_path / "link"), ["/"]), tmp_path / "real")

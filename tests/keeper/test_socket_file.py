"""The file of a socket and its lock, when they go."""

from __future__ import annotations

import os
from pathlib import Path

from rkllmd.keeper import socket_file


def test_a_file_is_removed_only_while_it_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "rkllm.sock"
    path.touch()
    inode = socket_file.inode_of(path.stat())
    path.rename(tmp_path / "aside")
    path.touch()
    assert not socket_file.is_at(str(path), inode)
    socket_file.remove(str(path), inode)
    assert path.exists()
    (tmp_path / "aside").rename(path)
    socket_file.remove(str(path), inode)
    assert not path.exists()
    socket_file.remove(str(path), inode)


def test_a_lock_goes_with_its_file(tmp_path: Path) -> None:
    lock = os.open(tmp_path / "rkllm.sock.lock", os.O_CREAT | os.O_RDWR)
    socket_file.unlock(str(tmp_path / "rkllm.sock"), lock)
    assert os.listdir(tmp_path) == []


def test_a_place_is_told_as_one_text() -> None:
    assert socket_file.parse(socket_file.describe("/run/a:b.sock", (1, 2))) == ("/run/a:b.sock", (1, 2))

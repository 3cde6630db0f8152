"""What C wrote is put where a client wants it: through no link, over nobody else's file."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from rkllmd.machine.disk import placing

USER = 4711


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Return a file that C has written in a directory of the daemon's own."""
    folder = placing.private_folder([str(tmp_path)], tmp_path)
    (folder / "cache").write_bytes(b"new")
    return folder / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a directory where clients may write."""
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


@pytest.fixture(params=[False, True], ids=["one filesystem", "two filesystems"])
def filesystems(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Play a target on another filesystem than the daemon's directory."""
    rename = os.rename

    def across(source: Any, target: Any, **descriptors: Any) -> None:
        if request.param and "src_dir_fd" not in descriptors:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target, **descriptors)

    monkeypatch.setattr(os, "rename", across)


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.mark.usefixtures("filesystems")
def test_a_file_is_put_in_place_with_its_mode(written: Path, root: Path) -> None:
    mode = written.stat().st_mode
    assert placing.place(written, root / "a", [str(root)], USER) == 3
    assert (root / "a").read_bytes() == b"new"
    assert (root / "a").stat().st_mode == mode
    assert names(root) == {"a"}


@pytest.mark.usefixtures("filesystems")
def test_a_file_that_the_daemon_has_saved_before_is_replaced(written: Path, root: Path) -> None:
    (root / "a").write_bytes(b"old")
    placing.check(root / "a", [str(root)], USER)
    placing.place(written, root / "a", [str(root)], USER)
    assert (root / "a").read_bytes() == b"new"
    assert names(root) == {"a"}


@pytest.mark.usefixtures("filesystems")
def test_a_private_file_of_the_daemons_user_is_not_replaced(written: Path, root: Path) -> None:
    (root / "a").write_bytes(b"secret")
    (root / "a").chmod(0o600)
    with pytest.raises(PermissionError, match="neither yours nor"):
        placing.check(root / "a", [str(root)], USER)
    with pytest.raises(PermissionError, match="neither yours nor"):
        placing.place(written, root / "a", [str(root)], USER)
    assert (root / "a").read_bytes() == b"secret"
    placing.place(written, root / "a", [str(root)], os.getuid())  # the client's own


@pytest.mark.usefixtures("filesystems")
def test_a_link_that_came_since_the_check_is_not_written_through(written: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"secret")
    (root / "a").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="something else"):
        placing.place(written, root / "a", [str(root)], USER)
    (root / "below").symlink_to(tmp_path)
    with pytest.raises(NotADirectoryError):
        placing.place(written, root / "below" / "victim", [str(root)], USER)
    assert (tmp_path / "victim").read_bytes() == b"secret"
    assert names(root) == {"a", "below"}


def test_a_copy_that_fails_leaves_nothing(written: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfileobj", full)
    monkeypatch.setattr(os, "rename", _other_filesystem)
    with pytest.raises(OSError, match="No space"):
        placing.place(written, root / "a", [str(root)], USER)
    assert names(root) == set()


def _other_filesystem(*_: object, **__: object) -> None:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


def test_the_daemons_own_directory_is_closed_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, closed, temporary = tmp_path / "shared", tmp_path / "closed", tmp_path / "temporary"
    for directory in (shared, closed, temporary):
        directory.mkdir()
    shared.chmod(0o777)  # whoever may write here can replace the directory by a link
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    folder = placing.private_folder(["", str(tmp_path / "none"), str(shared), str(closed)], tmp_path)
    assert folder.parent == closed
    assert folder.stat().st_mode & 0o777 == 0o700
    assert placing.private_folder([str(shared)], tmp_path).parent == temporary
    (folder / "cache").touch()
    placing.remove_folder(folder)
    assert names(closed) == set()

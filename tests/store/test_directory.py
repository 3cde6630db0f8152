"""The store's own directory: nobody else's, one daemon's at a time, and no links."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rkllmd.store import directory as directory_module
from rkllmd.store.directory import FILE, NAME, StoreDirectory, UnusableDirectory


def test_it_is_made_for_its_user_alone(tmp_path: Path) -> None:
    directory = StoreDirectory(str(tmp_path))
    directory.make_file()
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / NAME / FILE).stat().st_mode) == 0o600
    assert directory.file == str(tmp_path / NAME / FILE)
    directory.close()


def test_one_that_others_could_enter_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir(mode=0o700)
    (tmp_path / NAME).chmod(0o777)
    (tmp_path / NAME / FILE).touch()
    (tmp_path / NAME / FILE).chmod(0o666)
    directory = StoreDirectory(str(tmp_path))
    directory.make_file()
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / NAME / FILE).stat().st_mode) == 0o600
    directory.close()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir()
    (tmp_path / NAME).symlink_to(target)
    with pytest.raises(UnusableDirectory):
        StoreDirectory(str(tmp_path))
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "directory"])
def test_what_is_no_file_of_ours_is_not_opened(tmp_path: Path, kind: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    victim.chmod(0o644)
    directory = StoreDirectory(str(tmp_path))
    file = tmp_path / NAME / FILE
    if kind == "link":
        file.symlink_to(victim)
    elif kind == "hard link":
        file.hardlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(file)
    else:
        file.mkdir()
    with pytest.raises((OSError, UnusableDirectory)):
        directory.make_file()
    directory.close()
    assert victim.read_bytes() == b"precious"
    assert stat.S_IMODE(victim.stat().st_mode) == 0o644


def test_a_second_daemon_is_kept_out_until_the_first_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "LOCK_SECONDS", 0.0)
    first = StoreDirectory(str(tmp_path))
    with pytest.raises(UnusableDirectory, match="Another rkllmd"):
        StoreDirectory(str(tmp_path))
    first.close()
    StoreDirectory(str(tmp_path)).close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UnusableDirectory, match="state_directory"):
            StoreDirectory(str(tmp_path))
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_not_used(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    os.chown(tmp_path / NAME, 12345, 12345)
    with pytest.raises(UnusableDirectory, match="12345"):
        StoreDirectory(str(tmp_path))


@pytest.mark.parametrize("given", ["", "/nonexistent/state", "/dev/null"])
def test_what_is_no_directory_is_named(given: str) -> None:
    with pytest.raises(UnusableDirectory, match="state_directory"):
        StoreDirectory(given)


def test_what_is_set_aside_keeps_its_content_and_only_so_many_stay(tmp_path: Path) -> None:
    directory = StoreDirectory(str(tmp_path))
    folder = tmp_path / NAME
    for number in range(5):
        (folder / FILE).write_text(str(number))
        (folder / f"{FILE}-wal").write_text(f"wal {number}")
        aside = Path(directory.set_aside())
        assert aside.read_text() == str(number)
        assert Path(f"{aside}-wal").read_text() == f"wal {number}"
    assert not (folder / FILE).exists()
    kept = [path for path in folder.iterdir() if path.suffix == ".sqlite"]
    assert sorted(path.read_text() for path in kept) == ["2", "3", "4"]
    assert len(list(folder.iterdir())) == 6
    directory.close()

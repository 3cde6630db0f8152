"""Where a path leads for a user, and that nothing is learned of what is closed to it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rkllmd.machine.disk.seeing import Viewer, resolve

# Whoever runs the test owns the files: a viewer with another uid is a stranger, in a group or not.
STRANGER = 54_321
NOBODYS = Viewer(STRANGER, frozenset())
OWNER = Viewer(os.geteuid(), frozenset())


@pytest.fixture
def root() -> Iterator[Path]:
    """Return a directory to which everybody may go: pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="rkllmd-test-") as directory:
        made = Path(os.path.realpath(directory))
        made.chmod(0o755)
        for name, mode in (("open", 0o755), ("closed", 0o700)):
            (made / name).mkdir()
            (made / name / "file").write_bytes(b"x")
            (made / name / "file").chmod(0o644)
            (made / name).chmod(mode)
        (made / "open" / "mine").write_bytes(b"x")
        (made / "open" / "mine").chmod(0o600)
        yield made


def see(path: Path | str, viewer: Viewer = NOBODYS, *, reads: bool = True) -> str | None:
    """Return where it leads; None if the viewer may not go there."""
    try:
        return resolve(str(path), viewer, reads=reads)
    except PermissionError:
        return None


def test_what_may_be_read_is_found(root: Path) -> None:
    assert see(root / "open" / "file") == str(root / "open" / "file")
    assert see(f"{root}/open/.//./file") == str(root / "open" / "file")
    assert see(root / "open" / "mine") is None
    assert see(root / "open" / "mine", reads=False) == str(root / "open" / "mine")
    assert see(root / "open" / "mine", OWNER) == str(root / "open" / "mine")


@pytest.mark.parametrize("name", ["file", "nothing", "file/below", "../open/file", "link", "../closed/directory", ".."])
def test_behind_a_closed_directory_all_is_the_same(root: Path, name: str) -> None:
    (root / "closed" / "link").symlink_to(root / "open" / "file")
    (root / "closed" / "directory").mkdir()
    assert see(root / "closed" / name) is None
    assert see(root / "closed" / name, reads=False) is None
    assert see(root / "closed" / name, OWNER) == os.path.realpath(root / "closed" / name)


def test_links_are_followed_and_judged_by_where_they_lead(root: Path) -> None:
    (root / "open" / "in").symlink_to("../closed/file")
    (root / "open" / "out").symlink_to(root / "open")
    (root / "open" / "dangling").symlink_to("nothing/at/all")
    assert see(root / "open" / "in") is None
    assert see(root / "open" / "out" / "out" / "file") == str(root / "open" / "file")
    assert see(root / "open" / "out" / ".." / "open" / "file") == str(root / "open" / "file")
    assert see(root / "open" / "dangling") == str(root / "open" / "nothing" / "at" / "all")


def test_what_is_not_there_is_a_path_nevertheless(root: Path) -> None:
    (root / "open" / "round").symlink_to("round")
    for name in ("nothing", "nothing/file", "file/below"):
        assert see(root / "open" / name) == str(root / "open" / name)
    with pytest.raises(OSError, match="symbolic links"):
        os.stat(str(see(root / "open" / "round")))


def test_a_group_counts_where_the_user_does_not(root: Path) -> None:
    (root / "closed").chmod(0o710)
    gid = (root / "closed").stat().st_gid
    assert see(root / "closed" / "file") is None
    assert see(root / "closed" / "file", Viewer(STRANGER, frozenset({gid}))) == str(root / "closed" / "file")
    (root / "closed").chmod(0o701)
    assert see(root / "closed" / "file", Viewer(STRANGER, frozenset({gid}))) is None, "as in the kernel"
    assert see(root / "closed" / "file", NOBODYS) is not None


def test_what_is_shown_is_seen_by_everybody_and_nothing_beside_it(root: Path) -> None:
    (root / "closed" / "file").chmod(0o600)
    (root / "closed" / "shown").mkdir(0o700)
    (root / "closed" / "shown" / "model").write_bytes(b"x")
    (root / "closed" / "shown" / "model").chmod(0o600)
    (root / "closed" / "shown" / "out").symlink_to("../file")
    (root / "closed" / "shown" / "in").symlink_to(root / "closed" / "shown" / "model")
    viewer = Viewer(STRANGER, frozenset(), (str(root / "closed" / "shown"),))
    assert see(root / "closed" / "shown" / "model", viewer) == str(root / "closed" / "shown" / "model")
    assert see(root / "closed" / "shown" / "in", viewer) == str(root / "closed" / "shown" / "model")
    for beside in ("shown/../file", "shown/out", "file", "shown2", "shown/../nothing"):
        assert see(root / "closed" / beside, viewer) is None, beside
    assert see("/", Viewer(STRANGER, frozenset(), ("/",))) == "/"

"""Access control lists mean what the kernel makes of them."""

from __future__ import annotations

import os
import random
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rkllmd.machine.disk import acl
from rkllmd.machine.disk.seeing import Viewer

NAME = "system.posix_acl_access"
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NOBODY = 0xFFFFFFFF
USERS, GROUPS = (50_001, 50_002, 50_003), (60_001, 60_002, 60_003)
# Who asks: a uid and its groups.
VIEWERS = [(USERS[0], ()), (USERS[1], GROUPS[:1]), (USERS[2], GROUPS[1:]), (50_009, GROUPS)]
Entry = tuple[int, int, int]


def packed(*entries: Entry) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def any_list(numbers: random.Random) -> bytes:
    """Return a list as the kernel takes it: in order, with a mask."""

    def permissions() -> int:
        return numbers.choice((0, 4, 5, 7, 3))

    users = sorted(numbers.sample(USERS, numbers.randrange(3)))
    groups = sorted(numbers.sample(GROUPS, numbers.randrange(3)))
    return packed(
        (USER_OBJ, permissions(), NOBODY),
        *((USER, permissions(), user) for user in users),
        (GROUP_OBJ, permissions(), NOBODY),
        *((GROUP, permissions(), group) for group in groups),
        (MASK, permissions(), NOBODY),
        (OTHER, permissions(), NOBODY),
    )


@pytest.fixture
def root() -> Iterator[Path]:
    """Return a directory to which everybody may go, with such lists."""
    with tempfile.TemporaryDirectory(prefix="rkllmd-test-") as directory:
        made = Path(directory)
        made.chmod(0o755)
        try:
            os.setxattr(made, NAME, packed((USER_OBJ, 7, NOBODY), (GROUP_OBJ, 5, NOBODY), (OTHER, 5, NOBODY)))
        except OSError:
            pytest.skip("the filesystem has no access control lists")
        yield made


def kernels_view(paths: list[Path], user: int, groups: tuple[int, ...]) -> list[bool]:
    """Return which of these files the kernel lets a user read: a child that has become that user tries."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.setgroups(groups)
        os.setresgid(65_000, 65_000, 65_000)
        os.setresuid(user, user, user)
        os.write(writer, bytes(os.access(path, os.R_OK) for path in paths))
        os._exit(0)
    os.close(writer)
    try:
        assert os.waitpid(child, 0)[1] == 0
        return [bool(value) for value in os.read(reader, len(paths))]
    finally:
        os.close(reader)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes other users")
def test_a_viewer_sees_what_the_kernel_shows_it(root: Path) -> None:
    numbers = random.Random(12)
    paths = [root / str(number) for number in range(200)]
    for path in paths:
        path.touch()
        os.chown(path, numbers.choice((0, *USERS)), numbers.choice((0, *GROUPS)))
        path.chmod(numbers.choice((0o600, 0o640, 0o604, 0o044)))
        if numbers.random() < 0.8:
            os.setxattr(path, NAME, any_list(numbers))
    for user, groups in VIEWERS:
        viewer = Viewer(user, frozenset((*groups, 65_000)))
        seen = [viewer.may(str(path), os.R_OK) for path in paths]
        assert seen == kernels_view(paths, user, groups)
        assert 20 < sum(seen) < 180


def test_what_was_opened_is_judged_by_its_own_list(root: Path) -> None:
    path = root / "file"
    path.touch()
    path.chmod(0o644)
    hidden = ((USER_OBJ, 6, NOBODY), (USER, 0, USERS[0]), (GROUP_OBJ, 4, NOBODY), (MASK, 4, NOBODY), (OTHER, 4, NOBODY))
    os.setxattr(path, NAME, packed(*hidden))
    descriptor = os.open(path, os.O_PATH)
    try:
        path.rename(root / "moved")
        path.touch()
        assert not Viewer(USERS[0], frozenset()).may_read(str(path), descriptor)
        assert Viewer(USERS[1], frozenset()).may_read(str(path), descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    "content", [b"", b"\x02\0\0", b"\x03\0\0\0" + packed((OTHER, 7, NOBODY))[4:], packed()[:4] + b"x"]
)
def test_a_list_that_makes_no_sense_grants_nothing(content: bytes) -> None:
    assert not acl.grants(content, os.stat("/"), USERS[0], frozenset(), os.R_OK)

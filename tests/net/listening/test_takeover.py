"""What other users make at the socket's path neither stops a daemon nor leads it to take what is served."""

from __future__ import annotations

import fcntl
import os
import pwd
import socket as stdlib_socket
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rkllmd.net.listening import takeover
from tests.net.listening.sockets import bound, connects, listening_at, refused

ME = pwd.getpwuid(os.getuid()).pw_name


def foreign(monkeypatch: pytest.MonkeyPatch, *paths: str) -> None:
    """Let the files that are at these paths now belong to another user."""
    inodes = {os.lstat(path).st_ino for path in paths}

    def other(real: object) -> object:
        def status(*arguments: object, **named: object) -> os.stat_result:
            found: os.stat_result = real(*arguments, **named)  # type: ignore[operator]  # os.lstat and os.fstat
            if found.st_ino not in inodes:
                return found
            return os.stat_result([*found[:4], os.geteuid() + 1, *found[5:]])

        return status

    for name in ("lstat", "fstat"):
        monkeypatch.setattr(os, name, other(getattr(os, name)))


def sticky(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no file be removed, as those of others in /tmp."""

    def denied(path: str) -> None:
        raise PermissionError(1, os.strerror(1), path)

    monkeypatch.setattr(os, "unlink", denied)


def test_a_live_socket_is_not_taken_over_when_its_lock_was_replaced(path: str) -> None:
    with bound(path):
        os.unlink(f"{path}.lock")
        Path(f"{path}.lock").touch()
        assert refused(path) == (
            f"{path} can't be bound: process {os.getpid()} of {ME} listens there; stop it, or choose another --socket."
        )
        assert connects(path)


def test_a_live_socket_that_does_not_accept_is_not_taken_over(path: str) -> None:
    os.close(listening_at(path))
    os.unlink(path)
    with stdlib_socket.socket(stdlib_socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        with stdlib_socket.socket(stdlib_socket.AF_UNIX) as client:
            client.connect(path)
            assert "a process (it does not accept)" in refused(path)
        assert os.path.exists(path)


def test_another_users_lock_is_removed_where_that_is_allowed(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    fcntl.flock(theirs, fcntl.LOCK_EX)
    foreign(monkeypatch, f"{path}.lock")
    with bound(path):
        assert os.lstat(f"{path}.lock").st_uid == os.geteuid()
        assert refused(path).startswith(f"Another rkllmd (pid {os.getpid()})")
    os.close(theirs)


def test_another_users_lock_in_tmp_does_not_stop_the_daemon(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    fcntl.flock(theirs, fcntl.LOCK_EX)
    foreign(monkeypatch, f"{path}.lock")
    sticky(monkeypatch)
    with capture_logs() as logs, bound(path):
        assert connects(path)
        assert "listens there" in refused(path), "a second daemon still finds the first"
    assert logs[0]["event"] == "lock_not_ours"
    assert os.pread(theirs, 1, 0) == b"", "nothing is written to it"
    os.close(theirs)


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_what_another_user_made_of_the_lock_is_not_followed(
    path: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "precious").write_text("precious")
    if kind == "link":
        os.symlink(tmp_path / "precious", f"{path}.lock")
    else:
        os.mkfifo(f"{path}.lock")
    theirs = os.open(f"{path}.lock", os.O_PATH | os.O_NOFOLLOW)  # its inode is not given to another file
    foreign(monkeypatch, f"{path}.lock")
    with bound(path):
        assert stat.S_ISREG(os.lstat(f"{path}.lock").st_mode)
    os.close(theirs)
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_second_name_of_a_file_of_ours_is_not_the_lock(path: str, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    os.link(tmp_path / "precious", f"{path}.lock")
    with bound(path):
        assert os.stat(f"{path}.lock").st_nlink == 1
    assert (tmp_path / "precious").read_text() == "precious"


def test_it_is_said_whose_socket_is_in_the_way(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.close(listening_at(path))
    foreign(monkeypatch, path)
    real = os.unlink

    def denied(other: str) -> None:
        if other == path:
            raise PermissionError(1, os.strerror(1), path)
        real(other)

    monkeypatch.setattr(os, "unlink", denied)
    monkeypatch.setattr(takeover, "user_name", lambda uid: f"user {uid - os.geteuid()}")
    assert refused(path) == (
        f"{path} can't be bound: user 1 has left a socket there that only they or root may remove; choose another "
        "--socket."
    )

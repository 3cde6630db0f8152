"""Binding the listening socket: its lock, its permissions, and what is left behind."""

from __future__ import annotations

import errno
import fcntl
import os
import socket as stdlib_socket
import stat
from pathlib import Path
from typing import Any

import pytest

from rkllmd.net.listening.listener import Listener, bind
from tests.net.listening.sockets import bound, connects, refused


def test_a_socket_is_bound_and_removed_again(path: str) -> None:
    with bound(path) as listening:
        assert listening.path == path
        assert connects(path)
    assert not os.path.exists(path)
    assert not os.path.exists(f"{path}.lock"), "another user's daemon could not take it"


def test_a_lock_that_goes_while_it_is_taken_is_not_the_lock(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking, the daemon before may have left and another one come."""
    real = fcntl.flock
    others: list[Listener] = []

    def late(lock: int, operation: int) -> None:
        if not others:
            os.unlink(f"{path}.lock")
            others.append(None)  # type: ignore[arg-type]  # its own call of this comes here too
            others[0] = bind(path)
        real(lock, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert refused(path).startswith(f"Another rkllmd (pid {os.getpid()}) serves")
    assert connects(path)
    others[0].close()


def test_a_refused_start_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    assert "is not a socket" in refused(str(tmp_path / "model.gguf"))
    assert os.listdir(tmp_path) == ["model.gguf"]


def test_a_lock_that_can_not_be_opened(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    Path(f"{path}.lock").touch()
    monkeypatch.setattr(os, "open", denied)
    assert refused(path) == f"The lock {path}.lock can't be opened: Permission denied."


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_owner_and_group_may_connect_whatever_the_umask(path: str, umask: int) -> None:
    before = os.umask(umask)
    try:
        with bound(path):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
            assert os.umask(umask) == umask, "the umask is as it was"
    finally:
        os.umask(before)


def test_the_socket_is_never_open_to_all_for_a_moment(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    real = stdlib_socket.socket.bind

    def spy(self: stdlib_socket.socket, address: Any) -> None:
        real(self, address)
        modes.append(stat.S_IMODE(os.stat(path).st_mode))

    monkeypatch.setattr(stdlib_socket.socket, "bind", spy)
    before = os.umask(0)
    try:
        with bound(path):
            assert modes == [0o660]
    finally:
        os.umask(before)


def test_a_second_daemon_is_told_who_has_the_socket(path: str) -> None:
    with bound(path):
        assert refused(path) == (
            f"Another rkllmd (pid {os.getpid()}) serves {path}: stop it with 'rkllmd stop --socket {path}', "
            "or choose another --socket."
        )
        assert connects(path), "the first is untouched"
    with bound(path):
        pass


def test_a_second_daemon_is_refused_even_if_the_lock_names_nobody(path: str) -> None:
    with bound(path):
        os.truncate(f"{path}.lock", 0)
        assert refused(path).startswith(f"Another rkllmd serves {path}")


def test_the_lock_is_not_passed_to_children(path: str) -> None:
    with bound(path) as listening:
        assert listening.lock is not None
        assert not os.get_inheritable(listening.lock)
        assert not listening.socket.get_inheritable()


def test_a_full_disk_does_not_hinder_the_lock(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with bound(path):
        assert refused(path).startswith("Another rkllmd serves")


def test_a_socket_that_nobody_serves_is_replaced(path: str) -> None:
    left = stdlib_socket.socket(stdlib_socket.AF_UNIX)
    left.bind(path)
    left.close()
    with bound(path):
        assert connects(path)


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(path: str, kind: str, tmp_path: Path) -> None:
    place = Path(path)
    match kind:
        case "file":
            place.write_text("precious")
        case "directory":
            place.mkdir()
        case "link":
            place.symlink_to(tmp_path / "elsewhere")
    assert refused(path) == f"{path} can't be bound: there is a file at this path that is not a socket."
    assert place.is_symlink() or place.exists()
    place.rename(tmp_path / "aside")
    with bound(path):
        pass  # the lock was given back


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    path = str(tmp_path / "no" / "rkllm.sock")
    assert refused(path) == f"There is no directory {Path(path).parent} for the socket: make it first."


def test_a_lock_that_is_a_link_is_not_followed(path: str, tmp_path: Path) -> None:
    """Anybody may make links in /tmp; the daemon must not write where they point."""
    (tmp_path / "target").write_text("precious")
    Path(f"{path}.lock").symlink_to(tmp_path / "target")
    assert "can't be opened" in refused(path)
    assert (tmp_path / "target").read_text() == "precious"


def test_a_path_that_the_kernel_refuses(tmp_path: Path) -> None:
    path = str(tmp_path / ("x" * 120))
    assert refused(path) == f"{path} can't be bound: AF_UNIX path too long."


def test_a_path_that_is_not_ours_any_more_is_not_removed(path: str) -> None:
    with bound(path):
        os.unlink(path)
        other = stdlib_socket.socket(stdlib_socket.AF_UNIX)
        other.bind(path)
        other.close()
    assert os.path.exists(path)


def test_a_path_that_is_gone_is_no_error(path: str) -> None:
    with bound(path):
        os.unlink(path)
    with bound(path):
        pass

"""Messages to the service manager, received as it receives them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rkllmd.machine.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """Give the manager's socket, and its name as NOTIFY_SOCKET has it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@rkllmd-test-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(120)
        receiver.bind("\0" + name[1:] if name.startswith("@") else name)
        yield receiver, name


def test_assignments_are_one_datagram(manager: tuple[socket.socket, str]) -> None:
    receiver, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.send(READY=1, STATUS="serving /tmp/ü with the portable runtime")
    notifier.send(STOPPING=1)
    assert receiver.recv(1000) == "READY=1\nSTATUS=serving /tmp/ü with the portable runtime".encode()
    assert receiver.recv(1000) == b"STOPPING=1"


def test_a_file_name_that_is_no_utf8(manager: tuple[socket.socket, str]) -> None:
    receiver, name = manager
    Notifier({"NOTIFY_SOCKET": name}).send(STATUS=os.fsdecode(b"/tmp/\xff.sock"))
    assert receiver.recv(1000) == b"STATUS=/tmp/\xff.sock"


def test_children_do_not_inherit_the_variable() -> None:
    environ = {"NOTIFY_SOCKET": "/run/notify", "OTHER": "1"}
    Notifier(environ)
    assert environ == {"OTHER": "1"}


def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*_: object) -> None:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(socket, "socket", unexpected)
    Notifier({}).send(READY=1)
    Notifier({"NOTIFY_SOCKET": ""}).send(READY=1)
    with pytest.raises(AssertionError, match="made"):
        Notifier({"NOTIFY_SOCKET": "/run/notify"}).send(READY=1)


@pytest.mark.parametrize("name", ["/nonexistent/notify", "/" + "x" * 200, "@" + "x" * 200, "relative"])
def test_a_manager_that_is_not_there_is_no_error(name: str) -> None:
    Notifier({"NOTIFY_SOCKET": name}).send(READY=1)

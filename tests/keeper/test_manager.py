"""The service manager: what is sent when it does not read, and its watchdog."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rkllmd.keeper.manager import Manager


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "notify"))
        found.setblocking(False)
        yield found


def received(receiver: socket.socket) -> list[bytes]:
    found = []
    try:
        while True:
            found.append(receiver.recv(65_536))
    except BlockingIOError:
        return found


def test_a_manager_that_does_not_read_gets_the_last_messages_later(receiver: socket.socket) -> None:
    manager = Manager({"NOTIFY_SOCKET": receiver.getsockname()})
    for number in range(5000):
        manager.send(f"STATUS={number}".encode())
    early = received(receiver)
    assert 0 < len(early) < 4000, "it did not wait"
    late = []
    for _ in range(20):  # it takes some at a time
        manager.send_waiting()
        late += received(receiver)
    assert late[-1] == b"STATUS=4999"
    manager.send(b"READY=1")
    assert received(receiver) == [b"READY=1"]


def test_without_a_manager_nothing_is_kept() -> None:
    manager = Manager({})
    manager.send(b"READY=1")
    manager.send_waiting()
    manager.feed(0.0)


def test_a_manager_that_has_gone_is_no_error(receiver: socket.socket) -> None:
    manager = Manager({"NOTIFY_SOCKET": receiver.getsockname()})
    receiver.close()
    manager.send(b"READY=1")
    manager.send_waiting()


def test_the_watchdog_is_fed_twice_in_its_time(receiver: socket.socket) -> None:
    environ = {
        "NOTIFY_SOCKET": receiver.getsockname(),
        "WATCHDOG_USEC": "10000000",
        "WATCHDOG_PID": str(os.getpid()),
        "OTHER": "1",
    }
    manager = Manager(environ)
    assert environ == {"OTHER": "1"}
    assert manager.feed_seconds == 5
    for now in (0.0, 4.0, 5.0, 9.0, 10.0):
        manager.feed(now)
    assert received(receiver) == [b"WATCHDOG=1"] * 3


@pytest.mark.parametrize(("period", "process"), [("", ""), ("0", ""), ("x", ""), ("1000000", "1")])
def test_a_watchdog_that_is_not_there_or_another_processs(receiver: socket.socket, period: str, process: str) -> None:
    environ = {"NOTIFY_SOCKET": receiver.getsockname(), "WATCHDOG_USEC": period, "WATCHDOG_PID": process}
    manager = Manager(environ)
    manager.feed(1e9)
    assert received(receiver) == []

"""Sockets that systemd itself passes on: by systemd-socket-activate(1), as the unit's socket is."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from tests.daemon import Daemon, until
from tests.wire_connection import Wire, kind

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None,
    reason="systemd-socket-activate is missing, which passes real sockets on: sudo apt install systemd",
)
# It gives the program no other variables than those that it is told to.
PASSED = ("RKLLM_SIMULATOR", "RKLLM_SIMULATOR_TRACE", "RKLLM_SIMULATOR_HOLD", "RKNN_SIMULATOR")


def listens(path: Path) -> bool:
    """Return whether somebody listens there; the file is there before that, and to connect would start the daemon."""
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return any(line[3] == "00010000" and line[7:] == [str(path)] for line in lines)  # __SO_ACCEPTCON, linux/net.h


def activated(directory: Path, path: Path, *, keeper: bool = False) -> Daemon:
    """Return a daemon that is going to be started by the first client."""
    launcher = ["systemd-socket-activate", f"--listen={path}", *(f"--setenv={name}" for name in PASSED)]
    return Daemon(directory, launcher=launcher, keeper=keeper)


def test_the_first_client_starts_the_daemon_and_is_answered_by_it(tmp_path: Path) -> None:
    path = tmp_path / "passed.sock"
    daemon = activated(tmp_path, path)
    until("systemd listens", lambda: listens(path))
    with Wire(str(path)) as first:
        first.request("server.status")
        with daemon:
            answer = first.final(1)
            assert kind(answer) is None
            assert answer["result"]["pid"] == daemon.process.pid, "the very process that systemd has started"
            with Wire(str(path)) as second:
                assert second.ask("server.queue")["result"]["length"] == 0
            assert not Path(daemon.path).exists(), "no other socket is made"
    assert daemon.faults() == []
    assert path.is_socket(), "it is systemd's"


def test_many_clients_come_before_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "passed.sock"
    daemon = activated(tmp_path, path)
    until("systemd listens", lambda: listens(path))
    answers: list[object] = []

    def ask() -> None:
        with Wire(str(path)) as wire:
            answers.append(wire.ask("server.queue")["result"]["length"])

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    with daemon:
        for thread in threads:
            thread.join()
    assert answers == [0] * 20
    assert daemon.faults() == []


def test_a_keeper_passes_the_socket_on_to_the_next_daemon(tmp_path: Path) -> None:
    path = tmp_path / "passed.sock"
    daemon = activated(tmp_path, path, keeper=True)
    until("systemd listens", lambda: listens(path))
    with Wire(str(path)) as first:
        first.request("server.status")
        with daemon:
            before = first.final(1)["result"]
            assert before["pid"] == daemon.process.pid, "the keeper is what systemd has started"
            os.kill(before["daemon_pid"], signal.SIGKILL)
            assert first.receive() is None
            with Wire(str(path)) as second:
                after = second.ask("server.status")["result"]
            assert after["pid"] == before["pid"]
            assert after["daemon_pid"] != before["daemon_pid"]
    assert daemon.faults() == []
    assert path.is_socket(), "it is systemd's"

"""``rkllmd stop``, and what is said to whoever wants a socket that is served already."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rkllmd.keeper.ties import CANNOT_START
from rkllmd.net.listening import serving
from rkllmd.net.listening.serving import Server, StopError
from tests.daemon import Daemon, Start
from tests.inherited_socket import SHIM
from tests.wire_connection import kind


def stop(path: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rkllmd", "stop", "--socket", path]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def refusal(path: str) -> str:
    with pytest.raises(StopError) as caught:
        serving.stop(path)
    return str(caught.value)


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[str]:
    """Serve something else on a socket, from this very process."""
    path = str(tmp_path / "stranger.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def serve() -> None:
            try:
                while True:
                    client, _ = listening.accept()
                    with client:
                        client.recv(65_536)
                        client.sendall(b'["hello"]\n')
            except OSError:
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_stop_ends_the_daemon_and_waits_for_it(start: Start) -> None:
    daemon = start()
    done = stop(daemon.path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"rkllmd (pid {daemon.process.pid}, ")
    assert done.stdout.endswith(f" is stopped; it served {daemon.path}.\n")
    assert not Path(daemon.path).exists(), "it has ended before the command has"
    assert daemon.wait_end() == 0
    again = stop(daemon.path)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == f"rkllmd: No daemon serves {daemon.path}, so there is nothing to stop.\n"


def test_stop_where_the_kernel_has_no_pidfd(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> int:
        raise OSError(38, "Function not implemented")

    daemon = start()
    monkeypatch.setattr(os, "pidfd_open", missing)
    threading.Thread(target=daemon.process.wait).start()  # a zombie has not ended
    assert " is stopped" in serving.stop(daemon.path)
    assert daemon.wait_end() == 0


def test_stop_of_a_daemon_that_takes_no_more_clients(start: Start) -> None:
    daemon = start("--max-connections", "1")
    with daemon.connect() as wire:
        assert kind(wire.ask("server.queue")) is None
        assert stop(daemon.path).returncode == 0


def test_stop_leaves_alone_what_is_not_rkllmd(stranger: str) -> None:
    assert refusal(stranger).startswith(f"Process {os.getpid()} (")
    assert "does not answer as rkllmd does" in refusal(stranger)
    assert "it is not rkllmd" in str(serving.why_taken(stranger, "choose another --socket"))


def test_stop_of_a_path_that_can_be_no_socket(tmp_path: Path) -> None:
    assert "can't be connected to" in refusal("/tmp/" + 200 * "x")


def test_a_socket_that_another_process_passed_on_is_not_that_processs_end(start: Start, tmp_path: Path) -> None:
    """The kernel names who listened first, and that is this test."""
    path = str(tmp_path / "inherited.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        launcher = (sys.executable, "-c", SHIM, str(listening.fileno()))
        daemon = start(launcher=launcher, pass_fds=(listening.fileno(),))
        told = refusal(path)
        assert told.startswith(f"rkllmd (pid {daemon.process.pid}, ")
        assert f"process {os.getpid()} (" in told
        assert daemon.process.poll() is None


@pytest.mark.parametrize(
    ("pid", "own_pid", "unit", "command"),
    [
        (1, 700, None, "systemctl stop rkllmd.socket rkllmd.service"),  # an inherited socket
        (700, 700, "npu.service", "systemctl stop npu.service"),  # a unit of somebody's own
        (900, 700, None, "systemctl --user stop rkllmd.socket rkllmd.service"),
    ],
)
def test_what_systemd_runs_is_stopped_by_systemd(
    monkeypatch: pytest.MonkeyPatch, pid: int, own_pid: int, unit: str | None, command: str
) -> None:
    monkeypatch.setattr(serving, "_name", lambda pid: "systemd" if pid in (1, 900) else "python3")
    monkeypatch.setattr(serving, "_parent", lambda pid: 1)
    monkeypatch.setattr(serving, "_unit", lambda pid: unit)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    server = Server("/run/rkllm/rkllm.sock", pid, 0, is_rkllmd=True, own_pid=own_pid)
    assert server.how_to_stop() == f"systemd runs it, so stop it with '{command}'"
    monkeypatch.setattr(serving, "find", lambda path: server)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("nothing is signalled"))
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda *_: pytest.fail("nothing is signalled"))
    assert command in refusal(server.path)


def test_a_daemon_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(pid: int) -> bool:
        raise PermissionError

    server = Server("/tmp/rkllm.sock", 700, 12345, is_rkllmd=True, own_pid=700)
    monkeypatch.setattr(serving, "find", lambda path: server)
    monkeypatch.setattr(serving, "_unit", lambda pid: None)
    monkeypatch.setattr(serving, "_end", forbidden)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    told = refusal(server.path)
    assert told.startswith("rkllmd (pid 700, uid 12345's) serves /tmp/rkllm.sock: stop it with 'sudo ")
    assert told.endswith("rkllmd stop --socket /tmp/rkllm.sock'.")


def test_a_daemon_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server("/tmp/rkllm.sock", 700, 0, is_rkllmd=True, own_pid=700)
    monkeypatch.setattr(serving, "find", lambda path: server)
    monkeypatch.setattr(serving, "_unit", lambda pid: None)
    monkeypatch.setattr(serving, "_end", lambda pid: False)
    assert refusal(server.path).endswith("has not ended within 15 s of SIGTERM: kill -KILL 700.")


def test_the_unit_is_read_from_the_control_group(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {
        1: "0::/system.slice/rkllmd.service\n",
        2: "12:pids:/system.slice/x.service\n1:name=systemd:/user.slice/session-3.scope\n",
        3: "1:name=systemd:/system.slice/npu.service\n",
    }
    monkeypatch.setattr(Path, "read_text", lambda self: groups[int(self.parts[2])])
    assert [serving._unit(pid) for pid in (1, 2, 3)] == ["rkllmd.service", None, "npu.service"]


def test_who_wants_a_served_socket_is_told_its_pid_and_how_to_stop_it(start: Start, tmp_path: Path) -> None:
    daemon = start()
    link = tmp_path / "link.sock"
    link.symlink_to(daemon.path)  # as /tmp/rkllm.sock is one where the service is installed
    for path in (daemon.path, str(link)):
        command = [sys.executable, "-m", "rkllmd.net.listening.serving", path, "--choose", "take another"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(f"rkllmd (pid {daemon.process.pid}, ")
        assert done.stderr.endswith(f" stop --socket {path}', or take another.\n")
    second = Daemon(tmp_path, "--socket", str(link))
    assert second.wait_end() == CANNOT_START
    second.stop()
    assert f"(pid {daemon.process.pid}, " in second.log()
    assert len(second.log().splitlines()) == 1


def test_nobody_serves(tmp_path: Path) -> None:
    assert serving.why_taken(str(tmp_path / "none"), "") is None
    assert serving.why_taken("/tmp/" + 200 * "x", "") is None

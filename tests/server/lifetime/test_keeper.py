"""The daemon with its keeper: one socket and one process for those outside, whatever happens inside."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rkllmd.keeper.ties import CANNOT_START
from tests.daemon import Daemon, until
from tests.wire_connection import Wire, kind

Start = Callable[..., Daemon]

ON_TERMINAL = (
    "import fcntl, os, sys, termios; os.setsid(); os.dup2(int(sys.argv[1]), 2); os.close(int(sys.argv[1])); "
    "fcntl.ioctl(2, termios.TIOCSCTTY, 0); os.execv(sys.argv[2], sys.argv[2:])"
)


def pids(wire: Wire) -> tuple[int, int]:
    status = wire.ask("server.status")["result"]
    return status["pid"], status["daemon_pid"]


def crash(daemon: Daemon) -> None:
    """Have a run crash the daemon, and wait until its client learns it."""
    daemon.load()
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt": "Hello"}, 2)
        assert all("error" not in message for message in wire.receive_all())


def test_the_socket_outlives_a_crash_in_the_middle_of_a_generation(start: Start, tmp_path: Path) -> None:
    ticket = tmp_path / "ticket"
    ticket.touch()
    daemon = start(keeper=True, cold=True, scenario=f"text=Hello;run=segfault@1;fault_ticket={ticket}")
    inode = os.stat(daemon.path).st_ino
    with daemon.connect() as wire:
        first = pids(wire)
    assert first[0] == daemon.process.pid
    crash(daemon)
    with daemon.connect() as wire:
        second = pids(wire)
        assert second[0] == first[0], "whom to stop stays the same"
        assert second[1] not in first
        assert "result" in wire.ask("rkllm.init", {"model_path": str(daemon.model)})
        assert wire.ask("rkllm.run", {"prompt": "Hi"})["result"]["text"] == "Hello"
    assert os.stat(daemon.path).st_ino == inode
    assert "Fatal Python error: Segmentation fault" in daemon.log()
    assert [event["end"] for event in daemon.events("daemon_ended")] == ["SIGSEGV"]
    assert daemon.stop() == 0
    assert not Path(daemon.path).exists()
    assert not Path(f"{daemon.path}.lock").exists()


def test_twenty_who_come_and_write_while_there_is_no_daemon_are_served(tmp_path: Path) -> None:
    """The next one is held before it serves; who comes waits in the socket that the keeper holds."""
    daemon = Daemon(tmp_path, keeper=True, scenario="hold.rkllm_createDefaultParam=1")
    daemon.let_go()
    with daemon, ExitStack() as clients:
        with daemon.connect() as wire:
            _, inner = pids(wire)
            daemon.hold()
            os.kill(inner, signal.SIGKILL)
            assert wire.receive() is None
        wires = [clients.enter_context(daemon.connect()) for _ in range(20)]
        for wire in wires:
            wire.request("server.status")
        daemon.wait_enter("rkllm_createDefaultParam", 2)
        daemon.let_go()
        answers = [wire.final(1)["result"]["daemon_pid"] for wire in wires]
    assert len(set(answers)) == 1
    assert answers[0] != inner
    assert daemon.faults() == []


def test_the_next_daemon_has_the_same_settings(start: Start) -> None:
    daemon = start("--max-queue", "7", keeper=True, cold=True, environ={"RKLLM_MAX_MODELS": "3"})
    with daemon.connect() as wire:
        os.kill(pids(wire)[1], signal.SIGKILL)
    with daemon.connect() as wire:
        assert wire.ask("server.queue")["result"]["limit"] == 7
    assert daemon.process.poll() is None


def test_a_daemon_that_is_asked_to_leave_by_itself_takes_its_keeper_along(start: Start) -> None:
    daemon = start(keeper=True)
    with daemon.connect() as wire:
        os.kill(pids(wire)[1], signal.SIGTERM)
    assert daemon.wait_end() == 0
    assert not Path(daemon.path).exists()


def test_stop_stops_both(start: Start) -> None:
    daemon = start(keeper=True, cold=True)
    with daemon.connect() as wire:
        _, inner = pids(wire)
    command = [sys.executable, "-m", "rkllmd", "stop", "--socket", daemon.path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"rkllmd (pid {daemon.process.pid}, ")
    assert not Path(f"/proc/{inner}").exists()
    assert daemon.wait_end() == 0


def test_a_signal_to_both_counts_once(start: Start) -> None:
    """As systemd sends it with KillMode=control-group: what is in flight is answered all the same."""
    daemon = start(keeper=True, scenario="text=ab;repeat=1000000000;pace_us=300")
    daemon.load()
    with daemon.connect() as wire:
        _, inner = pids(wire)
        wire.request("rkllm.run", {"prompt": "Hello"}, 2)
        daemon.wait_enter("rkllm_run")
        for pid in (inner, daemon.process.pid, inner):
            os.kill(pid, signal.SIGTERM)
        assert wire.final(2)["result"]["finish_reason"] == "abort"
    assert daemon.wait_end() == 0
    assert not daemon.events("second_signal")


def test_ctrl_c_at_the_terminal_counts_once(start: Start) -> None:
    master, slave = pty.openpty()
    daemon = start(keeper=True, launcher=(sys.executable, "-c", ON_TERMINAL, str(slave)), pass_fds=(slave,))
    os.write(master, b"\x03")
    assert daemon.wait_end() == 0
    os.close(slave)
    screen = b""
    while b"stopped" not in screen:
        screen += os.read(master, 65_536)
    assert b"second_signal" not in screen
    os.close(master)


def test_a_second_signal_hurries(start: Start) -> None:
    daemon = start(keeper=True, scenario="hold.rkllm_run=1")
    daemon.load()
    with daemon.connect() as wire:
        wire.request("rkllm.run", {"prompt": "Hello"}, 2)
        daemon.wait_enter("rkllm_run")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_event("stopping")
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.wait_end() == 1
    assert daemon.events("second_signal")


def test_the_daemon_leaves_in_order_if_its_keeper_is_killed(start: Start) -> None:
    daemon = start(keeper=True)
    with daemon.connect() as wire:
        daemon.process.kill()
        daemon.wait_event("stopped")
        assert wire.receive() is None
    until("the socket is gone", lambda: not Path(daemon.path).exists())
    again = start(directory=daemon.directory, keeper=True)
    with again.connect() as wire:
        assert kind(wire.ask("server.queue")) is None


def test_a_hangup_reloads_it(start: Start) -> None:
    daemon = start(keeper=True)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_event("reloaded")


def test_a_second_one_on_the_same_socket_is_told_whom_to_stop(start: Start, tmp_path: Path) -> None:
    daemon = start(keeper=True)
    second = Daemon(tmp_path, "--socket", daemon.path, keeper=True)
    assert second.wait_end() == CANNOT_START
    second.stop()
    (line,) = second.log().splitlines()
    assert line.startswith(f"rkllmd: Another rkllmd (pid {daemon.process.pid}) serves ")
    with daemon.connect() as wire:
        assert kind(wire.ask("server.queue")) is None


def test_a_socket_whose_file_is_removed_is_there_again_and_the_keepers(start: Start, tmp_path: Path) -> None:
    daemon = start(keeper=True)
    os.unlink(daemon.path)
    daemon.wait_event("socket_bound_again")
    with daemon.connect() as wire:
        os.kill(pids(wire)[1], signal.SIGKILL)
        assert wire.receive() is None
    with daemon.connect() as wire:
        assert pids(wire)[0] == daemon.process.pid
    assert daemon.stop() == 0
    assert not Path(daemon.path).exists()


def test_a_library_that_kills_each_start_is_a_crash_loop(start: Start, tmp_path: Path) -> None:
    """It is loaded before the daemon is ready: clients are told, instead of waiting for ever."""
    daemon = Daemon(tmp_path, keeper=True, scenario="fault.rkllm_createDefaultParam=segfault")
    try:
        until("a loop", lambda: len(daemon.events("daemon_ended")) >= 5)
        with daemon.connect() as wire:
            error = wire.receive()["error"]
            assert (error["data"]["kind"], error["data"]["end"]) == ("Restarting", "SIGSEGV")
            assert wire.receive() is None
    finally:
        assert daemon.stop() == 0


def test_told_to_leave_while_it_starts_it_leaves(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, keeper=True, cold=True)
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.wait_end() in (0, -signal.SIGTERM), "it depends on how far it was"
    daemon.stop()
    until("the socket is gone", lambda: not Path(daemon.path).exists())

"""What ends the daemon beside SIGTERM: its terminal, the process that started it."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import pytest

from tests.daemon import SEEN_SECONDS, Daemon, Start
from tests.wire_connection import kind

EXEC = "os.execv(sys.argv[2], sys.argv[2:])"
# The tests themselves may have been started by nohup.
HEEDED = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"
# Standard error is the terminal that is passed; the second one also makes it the terminal that hangs up on the process.
ON_STDERR = f"import os, signal, sys; {HEEDED}; os.dup2(int(sys.argv[1]), 2); {EXEC}"
CONTROLLED = (
    f"import fcntl, os, signal, sys, termios; {HEEDED}; os.setsid(); os.dup2(int(sys.argv[1]), 2); "
    f"os.close(int(sys.argv[1])); fcntl.ioctl(2, termios.TIOCSCTTY, 0); {EXEC}"
)
NOHUP = f"import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.dup2(int(sys.argv[1]), 2); {EXEC}"
# As make, or a person's script.
CHILD = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"


class Terminal:
    """A terminal, as objects: a number may be another file's once it is closed."""

    def __init__(self) -> None:
        master, slave = pty.openpty()
        self.master, self.slave = FileIO(master, "r+"), FileIO(slave, "r+")

    def close(self) -> None:
        """Close the window."""
        self.slave.close()
        self.master.close()

    def appears(self, text: bytes) -> None:
        """Wait until the terminal shows ``text``."""
        screen = b""
        while text not in screen:
            ready, _, _ = select.select([self.master], [], [], SEEN_SECONDS)
            assert ready, screen
            screen += os.read(self.master.fileno(), 65_536)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    found = Terminal()
    yield found
    found.close()


def on_terminal(start: Start, shim: str, terminal: Terminal, *arguments: str) -> Daemon:
    slave = terminal.slave.fileno()
    return start(*arguments, launcher=(sys.executable, "-c", shim, str(slave)), pass_fds=(slave,))


def test_a_hangup_ends_a_daemon_whose_stderr_is_a_terminal(start: Start, terminal: Terminal) -> None:
    daemon = on_terminal(start, ON_STDERR, terminal)
    daemon.process.send_signal(signal.SIGHUP)
    assert daemon.wait_end() == 0
    assert not Path(daemon.path).exists(), "it leaves in order"


def test_closing_the_terminal_ends_the_daemon(start: Start, terminal: Terminal) -> None:
    daemon = on_terminal(start, CONTROLLED, terminal)
    terminal.close()
    assert daemon.wait_end() == 0


def test_a_daemon_under_nohup_stays(start: Start, terminal: Terminal) -> None:
    daemon = on_terminal(start, NOHUP, terminal)
    daemon.process.send_signal(signal.SIGHUP)
    terminal.appears(b"reloaded")
    with daemon.connect() as wire:
        assert kind(wire.ask("server.queue")) is None


@pytest.mark.parametrize("ends_with", ["terminal", "parent"])
def test_a_hangup_ends_a_daemon_that_is_told_so(start: Start, ends_with: str) -> None:
    daemon = start("--ends-with", ends_with, cold=True)
    daemon.process.send_signal(signal.SIGHUP)
    assert daemon.wait_end() == 0


@pytest.mark.parametrize("arguments", [(), ("--ends-with", "nothing")])
def test_a_hangup_is_a_reload_elsewhere(start: Start, arguments: tuple[str, ...]) -> None:
    daemon = start(*arguments, cold=True)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_event("reloaded")


def test_told_not_to_end_with_its_terminal_it_reloads(start: Start, terminal: Terminal) -> None:
    daemon = on_terminal(start, ON_STDERR, terminal, "--ends-with", "nothing")
    daemon.process.send_signal(signal.SIGHUP)
    terminal.appears(b"reloaded")


def test_the_end_of_the_parent_ends_the_daemon_however_it_comes(start: Start) -> None:
    daemon = start("--ends-with", "parent", launcher=(sys.executable, "-c", CHILD))
    daemon.process.kill()
    daemon.wait_event("stopped")


def test_without_it_the_daemon_outlives_its_parent(start: Start) -> None:
    daemon = start(launcher=(sys.executable, "-c", CHILD))
    daemon.process.kill()
    daemon.process.wait()
    with daemon.connect() as wire:
        pid = wire.ask("server.status")["result"]["pid"]
    os.kill(pid, signal.SIGTERM)
    daemon.wait_event("stopped")

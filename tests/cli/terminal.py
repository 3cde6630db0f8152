"""A person at a terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

from tests.daemon import until
from tests.processes import state_of

SECONDS = 120
# Makes standard input the controlling terminal, so that Ctrl-C typed there becomes a signal.
_ON_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, '-m', 'rkllmd', *sys.argv[1:]])"
)
CTRL_C, CTRL_D = "\x03", "\x04"


class Terminal:
    """A person at a terminal: types, and waits for what must appear."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ON_TERMINAL, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "dumb", **environ},
        )
        os.close(slave)
        self.screen = ""

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.master, text.encode())

    def read(self) -> bool:
        """Take in what has appeared; false at the end."""
        ready, _, _ = select.select([self.master], [], [], SECONDS)
        assert ready, f"nothing more appeared:\n{self.screen}"
        try:
            data = os.read(self.master, 65_536)
        except OSError:  # EIO: the program has left
            return False
        self.screen += data.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)

    def expect(self, text: str) -> str:
        """Wait until ``text`` appears; return what stood before it. Both are taken off the screen."""
        deadline = time.monotonic() + SECONDS
        while text not in self.screen:
            assert time.monotonic() < deadline, f"{text!r} did not appear:\n{self.screen}"
            assert self.read(), f"{text!r} did not appear before the end:\n{self.screen}"
        before, _, self.screen = self.screen.partition(text)
        return before

    def wait_asleep(self) -> None:
        """Wait until the program waits for keys: Python's input() takes no notice of a signal just before that."""
        process = Path(f"/proc/{self.process.pid}")
        until("it waits for keys", lambda: state_of(process) == "S")

    def end(self) -> int:
        """Wait for the program's end; return its exit status. The rest stays on the screen."""
        while self.read():
            pass
        return self.process.wait(SECONDS)

    def close(self) -> None:
        """Turn the terminal off."""
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def on_terminal(*arguments: str, **environ: str) -> str:
    """Return what a command shows on a terminal, which it is run to the end on."""
    terminal = Terminal(*arguments, **environ)
    try:
        assert terminal.end() == 0, terminal.screen
        return terminal.screen
    finally:
        terminal.close()

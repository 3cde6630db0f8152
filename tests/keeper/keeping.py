"""A keeper with daemons that are scripted (``fake_daemon.py``), as a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from rkllmd.keeper import spawn
from rkllmd.keeper.keeper import Keeper
from rkllmd.keeper.ties import Ties
from tests.daemon import END_SECONDS, SEEN_SECONDS, until


class Kept:
    """A keeper and what it keeps: line n of ``script`` is what start n does, the last one also what later ones do."""

    def __init__(
        self,
        directory: Path,
        *script: str,
        environ: dict[str, str] | None = None,
        launcher: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.directory = directory
        self.path = str(directory / "rkllm.sock")
        self.log_path = directory / "log"
        (directory / "script").write_text("".join(f"{line}\n" for line in script))
        (directory / "hold").touch()
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*launcher, sys.executable, "-m", "tests.keeper.keeping", str(directory)],
                env={**os.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=pass_fds,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            for pid in self.starts()[-1:]:
                with contextlib.suppress(OSError):
                    if str(self.directory) in Path(f"/proc/{pid}/cmdline").read_text():
                        os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def starts(self) -> list[int]:
        """Return the processes that were started, one after the other."""
        path = self.directory / "starts"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def words(self) -> list[str]:
        """Return what the keeper has told the daemons that serve."""
        path = self.directory / "words"
        return path.read_text().splitlines() if path.exists() else []

    def wait_starts(self, count: int) -> list[int]:
        """Wait until this many were started; return them."""
        until(f"{count} starts", lambda: len(self.starts()) >= count)
        return self.starts()

    def let_go(self) -> None:
        """Let those go on that hold."""
        (self.directory / "hold").unlink()

    def ask(self) -> Any:
        """Connect as soon as there is a socket, and return what is answered; None at the end of file."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(SEEN_SECONDS)
            until("a socket", lambda: client.connect_ex(self.path) == 0)
            return answer(client)

    def log(self) -> str:
        """Return what was logged."""
        return self.log_path.read_text("utf-8", "replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the logged events of this name."""
        whole = self.log().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal the keeper; return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(END_SECONDS)


def answer(client: socket.socket) -> Any:
    """Return what a client is told before the end of file."""
    received = b""
    while data := client.recv(65_536):
        received += data
    return json.loads(received) if received else None


def main() -> None:
    """Be a keeper; the daemons find the modules as this process does."""
    command = [sys.executable, "-m", "tests.keeper.fake_daemon", sys.argv[1]]
    environ = dict(os.environ)
    child = spawn.start(command, environ, Ties(), ignores_hangup=False)
    sys.exit(Keeper(child, command, environ).run())


if __name__ == "__main__":
    main()

"""The real gateway as a process, over the socket of a real daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.daemon import Daemon, Start
from tests.nursery import forking


def demo_daemon(start: Start) -> Daemon:
    """Start a daemon that has loaded the demo model."""
    daemon = start("--model", "demo", runtime="portable")
    with daemon.connect() as wire:
        # The model is loaded after the daemon serves: what waits for it is answered then.
        assert "result" in wire.ask("rkllm.run", {"prompt": "", "max_new_tokens": 1})
    return daemon


def started(command: Sequence[str], log_path: Path) -> subprocess.Popen[bytes] | forking.Forked:
    """Start a command that serves HTTP, with its log behind what is in the file; it says on stdout where it is."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("RKLLM_", "RKNN_"))}
    with log_path.open("ab") as log:
        nursery = forking.find(environ)
        if nursery is not None:
            return nursery.fork(command, environ, log)
        program = [sys.executable, "-m", "rkllmd", *command]
        return subprocess.Popen(program, env=environ, stdout=subprocess.PIPE, stderr=log)


@contextmanager
def running(command: Sequence[str], log_path: Path) -> Iterator[tuple[subprocess.Popen[bytes] | forking.Forked, str]]:
    """Start such a command; yield its process and the line that says where it is, and let nothing of it stay."""
    process = started(command, log_path)
    assert process.stdout is not None
    try:
        with process.stdout:
            yield process, process.stdout.readline().decode()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def gateway(socket: str, folder: Path, *arguments: str, name: str = "gateway") -> Iterator[str]:
    """Start one on a free port, with its own log in ``folder``; yield its address (``http…://…``), and end it.

    ``name``: another command that serves HTTP.
    """
    log_path = folder / "gateway.log"
    scheme = "https" if "--tls-certificate" in arguments else "http"
    with running([name, "--socket", socket, "--listen", "127.0.0.1:0", *arguments], log_path) as (process, line):
        assert line.startswith(f"rkllmd {name} serves {scheme}://127.0.0.1:"), line + log_path.read_text()
        yield line.split()[-1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log_path.read_text()
    assert "Traceback" not in log_path.read_text()

"""Commands as a person gives them, and the sentence of one that fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from rkllmd.keeper.ties import CANNOT_START
from tests.nursery import forking

COMMAND = [sys.executable, "-m", "rkllmd"]


def run(*arguments: str, stdin: bytes = b"", environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("RKLLM_", "RKNN_"))}
    done = _run(arguments, stdin, {**variables, **(environ or {})})
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    )


def run_raw(*arguments: str, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end, in this environment and with ``environ``; its output is bytes."""
    return _run(arguments, stdin, {**os.environ, **environ})


def _run(arguments: Sequence[str], stdin: bytes, environ: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    nursery = forking.find(environ)
    if nursery is not None:
        return nursery.run(arguments, environ, stdin)
    command = [*COMMAND, *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, env=environ, timeout=300, check=False)


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a failed command says, after the checks that hold for every one."""
    assert done.returncode == (CANNOT_START if "serve" in done.args else 1), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("rkllmd: "), line
    return line.removeprefix("rkllmd: ")

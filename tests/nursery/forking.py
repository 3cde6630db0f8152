"""The tests' side of the nursery: starts it when the first daemon is to be forked, and asks it for daemons."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryFile
from typing import IO

from rkllmd.abi.c import this_process

_CHECKOUT = Path(__file__).resolve().parents[2]
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
# Only something broken makes a fork take that long.
_ANSWER_SECONDS = 120
# Nor does a command of a test.
_RUN_SECONDS = 300
# Variables that act when the interpreter, a library or the measurement of coverage is loaded; in a daemon they must be
# what they were in the nursery.
_EARLY = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "GLIBC_", "ASAN_", "LSAN_", "TSAN_", "UBSAN_", "COV")
# Variables with which a daemon is always started cold.
_COLD = ("LISTEN_", "NOTIFY_")


class Forked:
    """A child of this process, with what the tests use of ``subprocess.Popen``."""

    def __init__(self, pid: int, arguments: Sequence[str], stdout: IO[bytes]) -> None:
        self.pid = pid
        self.args = arguments
        self.stdout: IO[bytes] | None = stdout
        self.returncode: int | None = None
        self._end = os.pidfd_open(pid)
        self._lock = threading.Lock()

    def __del__(self) -> None:
        if self.returncode is None:
            warnings.warn(f"the daemon {self.pid} still runs", ResourceWarning, stacklevel=2, source=self)
        os.close(self._end)

    def poll(self) -> int | None:
        """Return the exit status; a negative one is the signal that ended it, None means that it runs."""
        with self._lock:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit status. Raises TimeoutExpired."""
        if self.poll() is None:
            end = select.poll()
            end.register(self._end, select.POLLIN)
            end.poll(None if timeout is None else timeout * 1000)
        if (status := self.poll()) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that daemons are forked from."""

    def __init__(self) -> None:
        self._early = _early(os.environ)
        self._lock = threading.Lock()
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.settimeout(_ANSWER_SECONDS)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.nursery"],
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,  # for which sys.stdout is what it is for a daemon's
                cwd=_CHECKOUT,
            )

    def can_start(self, environ: Mapping[str, str]) -> bool:
        """Return whether a daemon with this environment can be forked from what has been loaded."""
        return _early(environ) == self._early

    def run(self, arguments: Sequence[str], environ: Mapping[str, str], stdin: bytes) -> CompletedProcess[bytes]:
        """Run ``rkllmd`` to its end, as ``subprocess.run`` does. Raises OSError."""
        with TemporaryFile() as given, TemporaryFile() as said:
            given.write(stdin)
            given.seek(0)
            process = self.fork(arguments, environ, said, given)
            assert process.stdout is not None
            patience = threading.Timer(_RUN_SECONDS, process.kill)
            patience.start()
            with process.stdout:
                printed = process.stdout.read()
            status = process.wait()
            patience.cancel()
            said.seek(0)
            return CompletedProcess(process.args, status, printed, said.read())

    def fork(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        stderr: IO[bytes],
        stdin: IO[bytes] | None = None,
    ) -> Forked:
        """Start ``rkllmd`` with these arguments, with a pipe as its standard output. Raises OSError."""
        request = json.dumps({"arguments": arguments, "environ": dict(environ)}).encode()
        reader, writer = os.pipe()
        stdout = open(reader, "rb")  # noqa: SIM115  the process's, as it is Popen's
        with open(writer, "wb"), open(os.devnull, "rb") as nothing, self._lock, _adopting():
            descriptors = [(stdin or nothing).fileno(), writer, stderr.fileno()]
            socket.send_fds(self._connection, [request], descriptors)
            answer = self._connection.recv(100)
        if not answer:
            stdout.close()
            raise ChildProcessError("the nursery has ended")
        return Forked(int(answer), ["rkllmd", *arguments], stdout)

    def close(self) -> None:
        """End the process; the daemons live on."""
        self._connection.close()
        with self.process:
            self.process.wait()


def _early(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(_EARLY)}


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Let a grandchild whose parent ends become this process's child; no other, which nobody would wait for."""
    this_process().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        this_process().prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


_is_allowed = False
_nursery: Nursery | None = None
_finding = threading.Lock()


@contextlib.contextmanager
def allowed() -> Iterator[None]:
    """Let ``found`` give a nursery, which is closed at the end."""
    global _is_allowed, _nursery
    _is_allowed = True
    try:
        yield
    finally:
        _is_allowed = False
        if _nursery is not None:
            _nursery.close()
            _nursery = None


def find(environ: Mapping[str, str]) -> Nursery | None:
    """Return the nursery where there may be one and it can start a daemon with this environment."""
    global _nursery
    if not _is_allowed or any(name.startswith(_COLD) for name in environ):
        return None
    with _finding:
        if _nursery is not None and _nursery.process.poll() is not None:
            _nursery.close()
            _nursery = None
        if _nursery is None:
            _nursery = Nursery()
        return _nursery if _nursery.can_start(environ) else None

"""Lets other processes try files (``trials/child.py``), and says how each trial has ended. On the worker thread.

One process is started for it, which forks a child for each trial, so that what takes long to import is imported once;
it ends when it was idle for a while. A trial is bounded in time and memory, ends when its call is cancelled, and dies
with the daemon.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Final

from rkllmd.json_types import Json
from rkllmd.quick_dataclass import dataclass

# The longest that any load may take by default (timeouts_ms of rkllm.init); the call's own limit ends it earlier.
_LOAD_SECONDS: Final = 900.0
# How often to look whether the trial is still wanted.
_LOOK_SECONDS: Final = 0.05
_LINES_KEPT: Final = 50
_LINE_LENGTH: Final = 1000
_READ_BYTES: Final = 65_536
# Variables of the daemon alone: the other process is no service, and must not say that it is one.
_NOT_INHERITED: Final = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
_ENVIRONMENT: Final = {
    # GGML would call a debugger to print its stack.
    "GGML_NO_BACKTRACE": "1",
    # A mapped file needs no memory of its own, and here it does no harm if it ends the process.
    "RKLLM_PORTABLE_MAP": "1",
    # A forked child would not have the threads that numpy starts.
    "OPENBLAS_NUM_THREADS": "1",
}
_CODE: Final = "import sys; sys.path[:] = {path!r}; from rkllmd.trials.child import main; main({parent})"


@dataclass(slots=True)
class Ended:
    """How a trial has ended.

    ``step`` is the C function that was called last; ``failed`` is the one that failed in the ordinary way, with
    ``status``. ``death`` says what killed the process ("SIGABRT", "exit status 3"); None if it came to its end or was
    stopped. ``is_cancelled``: it was not wanted any more. ``is_late``: it took longer than any load may.
    """

    step: str = ""
    failed: str | None = None
    status: int = 0
    death: str | None = None
    is_cancelled: bool = False
    is_late: bool = False
    lines: list[str] = field(default_factory=list)


class Trier:
    """The process that tries files; it is started when there is a file to try."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def run(self, request: Mapping[str, Json], fds: Sequence[int], is_wanted: Callable[[], bool]) -> Ended:
        """Try what ``request`` describes, with these descriptors; stop when it is not wanted any more.

        Raises OSError if no process can be started.
        """
        message = json.dumps(request).encode()
        try:
            return self._run(message, fds, is_wanted)
        except (BrokenPipeError, ConnectionResetError):  # the process has just ended by itself
            self.close()
            return self._run(message, fds, is_wanted)

    def _run(self, message: bytes, fds: Sequence[int], is_wanted: Callable[[], bool]) -> Ended:
        process, connection = self._started()
        socket.send_fds(connection, [message], fds)
        watch = _Watch(process, connection, is_wanted)
        try:
            watch.until_end()
        finally:
            if not watch.has_ended:
                self.close()
        return watch.ended()

    def close(self) -> None:
        """End the process, and with it a trial that may be running."""
        process, connection, self._process, self._connection = self._process, self._connection, None, None
        if connection is not None:
            connection.close()
        if process is not None:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def _started(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        if self._process is not None and self._connection is not None and self._process.poll() is None:
            return self._process, self._connection
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            path = [entry or os.getcwd() for entry in sys.path]
            environ = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", _CODE.format(path=path, parent=os.getpid())],
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**environ, **_ENVIRONMENT},
                start_new_session=True,  # a Ctrl-C at the terminal is for the daemon
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        ours.setblocking(False)
        self._process, self._connection = process, ours
        return process, ours


class _Watch:
    """Reads what a trial prints and reports, until it ends."""

    def __init__(
        self, process: subprocess.Popen[bytes], connection: socket.socket, is_wanted: Callable[[], bool]
    ) -> None:
        assert process.stdout is not None
        self.has_ended = False
        self._process = process
        self._connection = connection
        self._output = process.stdout.fileno()
        self._is_wanted = is_wanted
        self._ended = Ended()
        self._printed: deque[str] = deque(maxlen=_LINES_KEPT)
        self._rest = b""
        self._is_done = False
        # When the step has taken this long, the file counts as good.
        self._enough = math.inf
        self._step_at = time.monotonic()

    def until_end(self) -> None:
        """Return when the trial has ended, or has to be stopped (then ``has_ended`` is false)."""
        arrivals = select.poll()
        arrivals.register(self._output, select.POLLIN)
        arrivals.register(self._connection, select.POLLIN)
        while not (self.has_ended or self._is_to_stop()):
            found = dict(arrivals.poll(_LOOK_SECONDS * 1000))
            if self._output in found:
                self._read_output()
            if self._connection.fileno() in found and not self._read_report():
                self._process.wait()
                if not self._ended.step:
                    raise ConnectionResetError("the process has ended before the trial began")
                # Somebody has killed the process itself, and has probably meant the trial.
                self._ended.death = _name(self._process.returncode)
                return

    def ended(self) -> Ended:
        """Return how it has ended; to be called after ``until_end``."""
        if self.has_ended:
            while self._read_output():
                pass
        self._take(b"\n")
        self._ended.lines = list(self._printed)
        return self._ended

    def _is_to_stop(self) -> bool:
        waited = time.monotonic() - self._step_at
        if not self._is_wanted():
            self._ended.is_cancelled = True
        elif waited > _LOAD_SECONDS:
            self._ended.is_late = True
        else:
            return waited > self._enough  # it has been loaded, and that was the question
        return True

    def _read_output(self) -> bool:
        """Take what was printed; return false if nothing was."""
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return False
        self._take(data)
        return bool(data)

    def _take(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-_READ_BYTES:]
        for line in lines:
            if text := line[:_LINE_LENGTH].decode("utf-8", "replace").strip():
                self._printed.append(text)

    def _read_report(self) -> bool:
        """Take a report; return false at the end of the connection."""
        try:
            message = self._connection.recv(_READ_BYTES)
        except ConnectionResetError:
            return False
        if not message:
            return False
        report = json.loads(message)
        self._step_at = time.monotonic()
        if "step" in report:
            self._ended.step, self._enough = report["step"], report.get("seconds", math.inf)
        elif "failed" in report:
            self._ended.failed, self._ended.status = report["failed"], report["status"]
        elif "done" in report:
            self._is_done = True
        else:
            self.has_ended = True
            if not self._is_done:
                self._ended.death = _name(report["ended"])
        return True


def _name(status: int) -> str:
    """Return how people name the end of a process with this status."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:  # a real-time signal
        return f"signal {-status}"

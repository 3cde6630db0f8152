"""The real daemon as a process, over the real socket, through the real ctypes path: for tests and benchmarks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.simulator.build import build

# Compiled once per machine and run: the file's name holds a hash of the sources.
BUILD_DIRECTORY = Path(tempfile.gettempdir()) / f"rkllmd-tests-{os.getuid()}"
READY_SECONDS = 30
ANSWER_SECONDS = 60


def simulator(version: str = "1.3.0", layout: str | None = None) -> Path:
    """Return the simulator's library for a runtime version; the layout follows from it unless it is given."""
    BUILD_DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    return build(layout or version[:3], version, BUILD_DIRECTORY)


class Daemon:
    """A daemon process on a socket of its own, serving the simulator unless ``arguments`` say otherwise."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        scenario: str | Mapping[str, Any] = "",
        version: str = "1.3.0",
        library: Path | None = None,
        environ: Mapping[str, str] | None = None,
        runtime: str = "simulator",
    ) -> None:
        """Start; ``scenario`` is the simulator's script (tests/simulator/README.md)."""
        self.directory = directory
        self.path = str(directory / "rkllm.sock")
        self.log_path = directory / "daemon.log"
        self.model = directory / "model.rkllm"
        self.model.touch()
        self.trace_path = directory / "trace"
        if not isinstance(scenario, str):
            scenario = ";".join(f"{key}={value}" for key, value in scenario.items())
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RKLLM_", "LISTEN_"))},
            "RKLLM_SIMULATOR": scenario,
            "RKLLM_SIMULATOR_TRACE": str(self.trace_path),
            **(environ or {}),
        }
        command = [sys.executable, "-m", "rkllmd", "serve", "--socket", self.path, "--runtime", runtime]
        if runtime in ("simulator", "vendor"):
            command += ["--rkllm-library", str(library or simulator(version))]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *arguments], env=variables, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL
            )

    def __enter__(self) -> Self:
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_ready(self) -> str:
        """Wait until the daemon says that it serves; return its line. Fails with its log if it ends instead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        assert " serves " in line, f"the daemon did not start: {line!r}\n{self.log()}"
        return line

    def stop(self, number: int = signal.SIGTERM, seconds: float = 15) -> int:
        """Send a signal, wait for the end, return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()
        return status

    def log(self) -> str:
        """Return what the daemon has logged."""
        return self.log_path.read_text("utf-8", "replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the logged events of this name."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]

    def trace(self) -> list[list[str]]:
        """Return the simulator's trace: one list of words per C call entered or left."""
        return [line.split() for line in self.trace_path.read_text().splitlines()] if self.trace_path.exists() else []

    def connect(self) -> Wire:
        """Return a raw connection."""
        return Wire(self.path)

    def load(self, **param: Any) -> int:
        """Load a model by a connection of its own; return its handle."""
        with self.connect() as wire:
            answer = wire.ask("rkllm.init", {"model_path": str(self.model), **param})
            return int(answer["result"]["handle"])


class Wire:
    """A raw connection: sends lines, reads messages; the protocol's shapes are left to the test."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(ANSWER_SECONDS)
        self.socket.connect(path)
        self._rest = b""
        self._lines: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def request(self, method: str, params: Any = None, call_id: Any = 1, **members: Any) -> None:
        """Send a request."""
        message = {"jsonrpc": "2.0", "id": call_id, "method": method, **members}
        if params is not None:
            message["params"] = params
        self.send(json.dumps(message).encode() + b"\n")

    def receive(self) -> Any:
        """Return the next message; None at the end of file."""
        while not self._lines:
            data = self.socket.recv(1 << 20)
            if not data:
                return None
            *self._lines, self._rest = (self._rest + data).split(b"\n")
        return json.loads(self._lines.pop(0))

    def ask(self, method: str, params: Any = None, call_id: Any = 1, **members: Any) -> dict[str, Any]:
        """Send a request and return the final message with its id; other messages are skipped."""
        self.request(method, params, call_id, **members)
        return self.final(call_id)

    def final(self, call_id: Any) -> dict[str, Any]:
        """Return the final message with this id."""
        return self.until_final(call_id)[-1]

    def until_final(self, call_id: Any) -> list[dict[str, Any]]:
        """Return the messages with this id up to its final one; messages of other ids are skipped."""
        messages = []
        while True:
            message = self.receive()
            assert message is not None, "the daemon closed the connection"
            if not isinstance(message, dict) or message.get("id") != call_id:
                continue
            messages.append(message)
            result = message.get("result")
            if not (isinstance(result, dict) and result.get("_callback_state") in (0, 1)):
                return messages

    def half_close(self) -> None:
        """Shut the sending side, as ``nc -N`` does."""
        self.socket.shutdown(socket.SHUT_WR)

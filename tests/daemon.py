"""The real daemon as a process, over the real socket, through the real ctypes path: for tests and benchmarks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from rkllmd.abi.library import layout_of
from tests.inotify import Watch
from tests.nursery import forking
from tests.simulator.build import build, build_rknn
from tests.simulator.trace import overlaps
from tests.wire_connection import Wire

# Compiled once per machine and run: the file's name holds a hash of the sources.
BUILD_DIRECTORY = Path(tempfile.gettempdir()) / f"rkllmd-tests-{os.getuid()}"
# How long to wait for what must come: something in the trace or the log, the end of a process. A machine that is ten
# times slower needs that; on another one it is only waited for so long if something is wrong.
SEEN_SECONDS = 120
END_SECONDS = 120

# A scenario of the simulator: a run that goes on until it is ended.
ENDLESS = "text=ab;repeat=1000000000;pace_us=300"

# Variables that would tell the daemon what the test does not.
_OURS = ("RKLLM_", "RKNN_", "LISTEN_")
# A launcher for daemons that can't write files: neither could the measurement of coverage, which would complain.
UNMEASURED = ("env", "-u", "COVERAGE_PROCESS_CONFIG")
# Events that mean a fault of the daemon itself, whatever a client did.
FAULTS = frozenset(
    {
        "internal_error",
        "not_released",
        "operator_init_failed",
        "connection_failed",
        "job_done_failed",
        "partial_results_failed",
        "result_callback_failed",
    }
)


def simulator(version: str = "1.3.0", layout: str | None = None) -> Path:
    """Return the simulator's library for a runtime version; the layout follows from it unless it is given."""
    BUILD_DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    return build(layout or layout_of(version) or version, version, BUILD_DIRECTORY)


def rknn_simulator(version: str = "2.3.2") -> Path:
    """Return the library of RKNN's simulator for a runtime version."""
    BUILD_DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    return build_rknn(version, BUILD_DIRECTORY)


def _script(scenario: str | Mapping[str, Any]) -> str:
    if isinstance(scenario, str):
        return scenario
    return ";".join(f"{key}={value}" for key, value in scenario.items())


class Daemon:
    """A daemon process on a socket of its own, serving the simulators unless ``arguments`` say otherwise."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        scenario: str | Mapping[str, Any] = "",
        version: str = "1.3.0",
        library: Path | None = None,
        rknn_scenario: str | Mapping[str, Any] = "",
        rknn_library: Path | None = None,
        environ: Mapping[str, str] | None = None,
        runtime: str = "simulator",
        changing: bool = False,
        launcher: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
        keeper: bool = False,
        cold: bool = False,
    ) -> None:
        """Start; ``scenario`` and ``rknn_scenario`` are the simulators' scripts (tests/simulator/README.md).

        ``changing``: the scenario may be changed later by ``play``. ``launcher`` stands before the daemon's own
        command. ``keeper``: it has one, which is ``process`` then. ``cold``: the process is executed, not forked from
        one that has the modules (tests/nursery says when it always is). ``expected_complaints``, to be set by a test,
        says that the simulator will complain.
        """
        self.expected_complaints = False
        self.directory = directory
        self.path = str(directory / "rkllm.sock")
        self.log_path = directory / "daemon.log"
        self.model = directory / "model.rkllm"
        self.model.touch()
        self.trace_path = directory / "trace"
        self._hold_path = directory / "hold"
        self._hold_path.touch()
        self._scenario_path = directory / "scenario"
        scenario = _script(scenario)
        if changing:
            self._scenario_path.write_text(scenario.replace(";", "\n"))
            scenario = f"@{self._scenario_path}"
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_OURS)},
            "RKLLM_SIMULATOR": scenario,
            "RKLLM_SIMULATOR_TRACE": str(self.trace_path),
            "RKLLM_SIMULATOR_HOLD": str(self._hold_path),
            "RKNN_SIMULATOR": _script(rknn_scenario),
            **(environ or {}),
        }
        command = ["serve", "--socket", self.path, "--runtime", runtime]
        command += [] if keeper else ["--no-keeper"]
        # A test that is not scheduled for a while is no client that stopped reading.
        command += ["--outbox-seconds", "600"]
        if runtime in ("simulator", "vendor"):
            command += ["--rkllm-library", str(library or simulator(version))]
            command += ["--rknn-library", str(rknn_library or rknn_simulator())]
        command += arguments
        is_cold = cold or bool(launcher or pass_fds)
        self.process = self._start(command, variables, launcher, pass_fds, is_cold)

    def _start(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        launcher: Sequence[str],
        pass_fds: Sequence[int],
        is_cold: bool,
    ) -> subprocess.Popen[bytes] | forking.Forked:
        nursery = None if is_cold else forking.find(variables)
        with self.log_path.open("wb") as log:
            if nursery is not None:
                return nursery.fork(command, variables, log)
            command = [*launcher, sys.executable, "-m", "rkllmd", *command]
            return subprocess.Popen(
                command, env=variables, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, pass_fds=pass_fds
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

    def stop(self, number: int = signal.SIGTERM, seconds: float = END_SECONDS) -> int:
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

    def play(self, scenario: str = "", /, **more: Any) -> None:
        """Change the scenario (``changing`` daemons): calls that begin from now on follow it, and ``more`` settings."""
        settings = [f"{key.replace('__', '.')}={value}" for key, value in more.items()]
        beside = self._scenario_path.with_suffix(".new")
        beside.write_text("".join(f"{line}\n" for line in (*scenario.split(";"), *settings) if line))
        beside.replace(self._scenario_path)

    def let_go(self) -> None:
        """Let the calls go on that ``hold.<function>=1`` or ``prefill_hold=1`` hold in C, and all later ones."""
        self._hold_path.unlink(missing_ok=True)

    def hold(self) -> None:
        """Hold such calls again."""
        self._hold_path.touch()

    def wait_for(self, what: str, seen: Callable[[], bool]) -> None:
        """Wait until ``seen`` is true of the log or the trace."""
        deadline = time.monotonic() + SEEN_SECONDS
        with Watch(self.directory) as watch:
            while not seen():
                left = deadline - time.monotonic()
                assert left > 0, f"not seen: {what}\n{self.log()}"
                watch.wait(left)

    def wait_event(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until the event was logged ``count`` times; return all of them."""
        self.wait_for(f"{count} events {name}", lambda: len(self.events(name)) >= count)
        return self.events(name)

    def wait_end(self) -> int:
        """Wait until the process has ended; return its exit status."""
        return self.process.wait(END_SECONDS)

    def wait_enter(self, function: str, count: int = 1) -> None:
        """Wait until the C function was entered ``count`` times."""
        self.wait_for(f"{count} calls of {function}", lambda: self.calls(function) >= count)

    def wait_finished(self, count: int = 1) -> None:
        """Wait until ``count`` runs of rkllm_run_async have let go of the NPU."""
        self.wait_for(f"{count} runs finished", lambda: self.calls("rkllm_run_async", "finished") >= count)

    def calls(self, function: str, event: str = "enter") -> int:
        """Return how often the C function was entered (or ``leave``, ``finished``)."""
        return sum(1 for line in self.trace() if line[2] == event and line[3] == function)

    def faults(self) -> list[str]:
        """Return what a good run never shows: complaints of a simulator, overlaps, faults of the daemon itself."""
        found = [line for line in self.log().splitlines() if "Traceback" in line]
        found += [json.dumps(event) for name in FAULTS for event in self.events(name)]
        if not self.expected_complaints:
            found += [line["line"] for line in self.events("runtime") if line["line"].startswith("SIMULATOR:")]
        return found + overlaps(self.trace())

    def settled(self) -> tuple[int, int]:
        """Return how many descriptors and threads the daemon has when nobody is connected and nothing ends any more."""
        counts: list[tuple[int, int]] = []
        with self.connect() as wire:

            def is_quiet() -> bool:
                status = wire.ask("server.status")["result"]
                counts.append((self.open_files() - 1, self.threads()))
                if status["clients"] > 1 or status["state"] != "idle":
                    counts.clear()
                return len(counts) >= 10 and len(set(counts[-10:])) == 1

            until("the same count of descriptors ten times", is_quiet)
        return counts[-1]

    def open_files(self) -> int:
        """Return how many descriptors the daemon has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def threads(self) -> int:
        """Return how many threads the daemon has."""
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def memory_peak(self) -> int:
        """Return the most bytes of memory that the daemon has had."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

    def log(self) -> str:
        """Return what the daemon has logged."""
        return self.log_path.read_text("utf-8", "replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the logged events of this name."""
        # A line that is being written now is not whole yet.
        whole = self.log().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]

    def trace(self) -> list[list[str]]:
        """Return the simulators' trace: one list of words per C call entered or left."""
        if not self.trace_path.exists():
            return []
        whole = self.trace_path.read_text().rpartition("\n")[0]
        return [line.split() for line in whole.splitlines()]

    def connect(self) -> Wire:
        """Return a raw connection."""
        return Wire(self.path)

    def load(self, **param: Any) -> int:
        """Load a model by a connection of its own; return its handle."""
        with self.connect() as wire:
            answer = wire.ask("rkllm.init", {"model_path": str(self.model), **param})
            return int(answer["result"]["handle"])


# What the fixture ``start`` is.
Start = Callable[..., Daemon]


def until(what: str, seen: Callable[[], bool]) -> None:
    """Wait until ``seen`` of something that tells nobody when it changes: it is asked again and again."""
    deadline = time.monotonic() + SEEN_SECONDS
    while not seen():
        assert time.monotonic() < deadline, f"not seen: {what}"
        time.sleep(0.002)


@contextlib.contextmanager
def starter(directory: Path) -> Iterator[Start]:
    """Give a function that starts daemons below ``directory``; all are stopped and judged at the end."""
    daemons: list[Daemon] = []
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, **options: Any) -> Daemon:
            own = options.pop("directory", None) or directory / f"daemon{len(daemons)}"
            own.mkdir(exist_ok=True)
            daemon = Daemon(own, *arguments, **options)
            daemons.append(daemon)
            return stack.enter_context(daemon)

        yield start
    for daemon in daemons:
        assert daemon.faults() == []

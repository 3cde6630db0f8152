"""The k-th call fails, for one k after the other; and what must hold after each."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.daemon import FAULTS, Daemon, until
from tests.soak.sampler import child_of
from tests.torture import shim
from tests.torture.scenario import WRONG, play

# Which calls fail, and how.
ERRORS: Final = {
    "allocate": (errno.ENOMEM,),
    "map": (errno.ENOMEM,),
    "send": (errno.EPIPE, errno.ECONNRESET, errno.EAGAIN, errno.EINTR, errno.ENOBUFS),
    "receive": (errno.ECONNRESET, errno.EAGAIN, errno.EINTR),
    "accept": (errno.EMFILE, errno.ENFILE, errno.ECONNABORTED, errno.EAGAIN),
    "read": (errno.EIO, errno.EINTR),
    "write": (errno.ENOSPC, errno.EIO, errno.EINTR),
    "open": (errno.EMFILE, errno.ENFILE),
    "synchronise": (errno.EIO, errno.ENOSPC),
}
# C functions of the runtimes that the scenario calls.
FUNCTIONS: Final = (
    *("rkllm_createDefaultParam", "rkllm_init", "rkllm_run", "rkllm_run_async", "rkllm_clear_kv_cache"),
    *("rkllm_destroy", "rknn_init", "rknn_query", "rknn_inputs_set", "rknn_run", "rknn_outputs_get"),
    *("rknn_outputs_release", "rknn_create_mem", "rknn_mem_sync", "rknn_destroy_mem", "rknn_destroy"),
)
# Those whose faults have keys of their own (tests/simulator/README.md).
_FAULT_KEYS: Final = {"rkllm_init": "init", "rknn_init": "init", "rkllm_run": "run", "rkllm_run_async": "run"}
# What a client may be told: a kind that says what is wrong. An internal error says nothing.
_SAYS_NOTHING: Final = "InternalError"
# A daemon that has no memory for its event loop ends, and its keeper starts another one.
_MAY_END: Final = ("allocate", "map")
# For longer than trio keeps a thread that has nothing to do.
_IDLE_SECONDS: Final = 12
_NOT_COUNTED: Final = ("-wal", "memfd:rknn (deleted)")
# What is shown of a line of the log: what it is about, and the last frames of a traceback.
_LINE_HEAD, _LINE_TAIL = 60, 700


@dataclass(frozen=True)
class Failure:
    """One call that fails, and what was wrong with how the daemon took it."""

    what: str
    wrong: tuple[str, ...]


class Torture:
    """A daemon with its keeper and the shim, and one failure after the other."""

    def __init__(self, directory: Path, **environ: str) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[Failure] = []
        for made in ("state", "caches"):
            (directory / made).mkdir(parents=True)
        self._ticket = directory / "ticket"
        self._vision_scenario = directory / "rknn.scenario"
        self._vision_scenario.touch()
        self._control = shim.Control(directory / "control")
        self._daemon = Daemon(
            directory,
            *("--state-directory", str(directory / "state"), "--cache-directory", str(directory / "caches")),
            *("--log-level", "1", "--grace-ms", "500", "--device-retry-seconds", "1"),
            scenario="text=abcd",
            rknn_scenario=f"@{self._vision_scenario}",
            changing=True,
            keeper=True,
            environ={**shim.environment(control=self._control.path), "RKLLM_SIMULATOR_TRACE": "", **environ},
        )
        self._daemon.wait_ready()
        self._log_offset = 0
        self._process = 0
        self._settled = (0, 0)
        self._files: Counter[str] = Counter()
        self._recover()

    def close(self) -> None:
        """Stop the daemon, which must still leave in order."""
        assert self._daemon.stop() == 0

    def calls(self, kind: str) -> int:
        """Return how many calls of this kind the scenario makes when nothing fails."""
        self._control.arm(self._process, kind, 0, 0)
        play(self._daemon)
        return self._control.disarm()[0]

    def fail(self, kind: str, k: int, number: int) -> bool:
        """Let the k-th call fail; return whether there was one."""
        self._control.arm(self._process, kind, k, number)
        outcomes = play(self._daemon)
        _, has_failed = self._control.disarm()
        self._judge(f"{kind} {k}: {errno.errorcode[number]}", outcomes, may_end=kind in _MAY_END)
        return has_failed

    def fail_in_c(self, function: str, *, once: bool, how: str = "fail") -> None:
        """Let a C function of the runtimes fail, or crash as ``how`` says, at its next call or at each."""
        scenario = {_FAULT_KEYS.get(function, f"fault.{function}"): how}
        if once:
            self._ticket.touch()
            scenario["fault_ticket"] = str(self._ticket)
        is_vision = function.startswith("rknn")
        self._script({} if is_vision else scenario, scenario if is_vision else {})
        outcomes = play(self._daemon)
        self._script({}, {})
        if "destroy" in function:  # what C does not give back nobody can close
            self._settled = (0, 0)
        self._judge(f"{function}: {how} {'once' if once else 'each time'}", outcomes, may_end=how != "fail")

    def _script(self, language: dict[str, str], vision: dict[str, str]) -> None:
        self._daemon.play(text="abcd", **language)
        beside = self._vision_scenario.with_suffix(".new")
        beside.write_text("".join(f"{key}={value}\n" for key, value in vision.items()))
        beside.replace(self._vision_scenario)

    def _judge(self, what: str, outcomes: list[str], *, may_end: bool = False) -> None:
        wrong = [outcome for outcome in outcomes if outcome.startswith(WRONG) or outcome == _SAYS_NOTHING]
        for outcome in set(outcomes) - {"result"}:
            self.counts[f"told: {outcome}"] += 1
        # The simulator aborts where it gets no memory. Three times in one function set a file aside, until it changes.
        self._daemon.model.touch()
        process = self._process
        try:
            self._recover()
        except AssertionError as error:
            wrong.append(f"afterwards: {error}")
            self._replace()
            process = self._process
        faults = self._new_faults()
        if self._process != process:
            self.counts["daemon ended and was started again"] += 1
            if may_end:
                faults = []  # the crash is told with its traceback
            else:
                wrong.append("the daemon ended")
        wrong += faults
        self.counts["calls that failed"] += 1
        if wrong:
            self.failures.append(Failure(what, tuple(wrong)))

    def _replace(self) -> None:
        """Have another daemon for the next failure, since this one may be of no use any more."""
        process = child_of(self._daemon.process.pid)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._settled = (0, 0)
        self._recover()

    def _recover(self) -> None:
        """See that everything works as before, and that nothing is left of the failure."""
        calm: list[str] = []

        def works() -> bool:
            calm[:] = play(self._daemon)
            return set(calm) == {"result"}

        try:
            until("a scenario in which all goes well", works)
        except AssertionError as error:
            raise AssertionError(f"{error}, but {calm}") from None
        process = child_of(self._daemon.process.pid)
        assert process is not None
        settled = self._counts(process)
        files = _files(process)
        if process == self._process:
            assert self._settled in (settled, (0, 0)), (
                f"descriptors and threads: {self._settled} before, {settled} after; more: {files - self._files}"
            )
        self._process, self._settled, self._files = process, settled, files

    def _counts(self, process: int) -> tuple[int, int]:
        counts: list[tuple[int, int]] = []
        # A thread that has helped stays for a while, and may help again.
        patience = _IDLE_SECONDS if process == self._process and self._settled != (0, 0) else 0
        enough = time.monotonic() + patience

        def is_quiet() -> bool:
            counts.append((_files(process).total(), len(os.listdir(f"/proc/{process}/task"))))
            is_steady = len(counts) >= 40 and len(set(counts[-40:])) == 1
            return counts[-1] == self._settled or (is_steady and time.monotonic() > enough)

        until("the same count of descriptors and threads", is_quiet)
        return counts[-1]

    def _new_faults(self) -> list[str]:
        with self._daemon.log_path.open("rb") as file:
            file.seek(self._log_offset)
            whole = file.read().rpartition(b"\n")[0]
        self._log_offset += len(whole)
        lines = whole.decode("utf-8", "replace").splitlines()
        signs = ("Traceback", "SIMULATOR:", *(f'"event":"{name}"' for name in FAULTS))
        return [line[:_LINE_HEAD] + " … " + line[-_LINE_TAIL:] for line in lines if any(sign in line for sign in signs)]


def _files(process: int) -> Counter[str]:
    """Return what a process has open and nobody is to have closed by itself.

    The store's log is opened for a moment to synchronise it. A memory of the RKNN simulator stays where C has refused
    to destroy it, as it does when its own scenario can't be opened.
    """
    names: Counter[str] = Counter()
    for entry in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            names[os.readlink(entry).partition("[")[0]] += 1
    return Counter({name: count for name, count in names.items() if not name.endswith(_NOT_COUNTED)})

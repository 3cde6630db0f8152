"""What goes wrong while the soak runs: failures of C that calls survive, and ends of the daemon."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from pathlib import Path
from typing import Any, Final

from tests.daemon import Daemon, until
from tests.soak.sampler import child_of

CALM: Final[dict[str, Any]] = {"tokens": 4, "pace_us": 300, "prefill_ms": 1, "prefill_abort": 1, "trace_callbacks": 2}
# What C does for a while; the fault is gone with the next one.
_WEATHER: Final[tuple[dict[str, Any], ...]] = (
    CALM,
    CALM,
    CALM,
    {**CALM, "thread": "own"},
    {**CALM, "run": "error@2"},
    {**CALM, "init": "fail"},
    {**CALM, "abort_lag": 3},
    {**CALM, "prefill_ms": 10, "prefill_abort": 0},
)
_VISION_WEATHER: Final[tuple[dict[str, Any], ...]] = (
    {},
    {},
    {"run_us": 2000},
    {"fault.rknn_inputs_set": "fail"},
    {"fault.rknn_outputs_get": "fail"},
    {"fault.rknn_create_mem": "fail"},
    {"init": "fail"},
    {"log": "none", "run": "fail"},
)
# Ways to crash, of each library, and from outside.
_CRASHES: Final = ("segfault@2", "kill", "abort", "rknn segfault", "exit@1", "rknn abort")


class Faults:
    """Does it to a daemon."""

    def __init__(self, daemon: Daemon, vision_scenario: Path, seed: int) -> None:
        self.crashes = 0
        self._daemon = daemon
        self._vision_scenario = vision_scenario
        self._choice = random.Random(seed)
        self._ticket = daemon.directory / "ticket"
        self.calm()

    def calm(self) -> None:
        """Let everything work."""
        self._play(CALM, {})

    def change_weather(self) -> None:
        """Let something else fail."""
        self._play(self._choice.choice(_WEATHER), self._choice.choice(_VISION_WEATHER))

    def crash(self) -> None:
        """Have the daemon end soon: killed now, or by the next run, once."""
        how = _CRASHES[self.crashes % len(_CRASHES)]
        self.crashes += 1
        if how == "kill":
            self._kill()
            return
        self._ticket.touch()
        library, _, way = how.rpartition(" ")
        fault = {"run": way, "fault_ticket": self._ticket}
        self._play(CALM if library else CALM | fault, fault if library else {})

    def _kill(self) -> None:
        keeper = self._daemon.process.pid
        until("the next daemon", lambda: child_of(keeper) is not None)
        pid = child_of(keeper)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _play(self, language: dict[str, Any], vision: dict[str, Any]) -> None:
        self._daemon.play(**language)
        beside = self._vision_scenario.with_suffix(".new")
        beside.write_text("".join(f"{key}={value}\n" for key, value in vision.items()))
        beside.replace(self._vision_scenario)


def vision_scenario(directory: Path) -> Path:
    """Return the file of RKNN's scenario, with nothing in it."""
    path = directory / "rknn.scenario"
    path.write_text("")
    return path

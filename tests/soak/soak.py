"""The soak itself: a daemon with its keeper, clients, faults, samples; and what must hold at the end."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.daemon import Daemon, until
from tests.soak import report
from tests.soak.analysis import Trend
from tests.soak.faults import CALM, Faults, vision_scenario
from tests.soak.guest import opened
from tests.soak.load import Load
from tests.soak.place import Company, Place
from tests.soak.probe import Probe
from tests.soak.sampler import Sample, Sampler, child_of

# The daemon crashes in the first third; in the rest one process has to hold out.
_CRASHING: Final = 1 / 3
_CRASHES: Final = 12
# This many samples in a run, but not more than four a second.
_SAMPLES: Final = 360
_LEAST_SAMPLE_SECONDS: Final = 0.25
# The weather changes this often in a run, at most once in two seconds.
_CHANGES: Final = 300
_LEAST_CHANGE_SECONDS: Final = 2.0
_SECONDS_OF_THE_DEAF: Final = 2
_TURN_SECONDS: Final = 0.05
# Counts are reached soon, so that what is kept does not grow for longer than the warm-up.
_ARGUMENTS: Final = (
    *(
        "--max-models",
        "2",
        "--max-connections",
        "600",
        "--max-connections-per-user",
        "500",
        "--between-tokens",
        "always",
    ),
    *("--outbox-seconds", str(_SECONDS_OF_THE_DEAF), "--outbox-bytes", "200000", "--max-line-bytes", "200000"),
    *("--max-jobs-per-user", "64", "--session-bytes", "2000", "--log-level", "1", "--grace-ms", "1000"),
)


@dataclass(frozen=True)
class Outcome:
    """What a soak has shown; it was good if nothing failed and no series grows."""

    samples: list[Sample]
    trends: list[Trend]
    counts: Counter[str]
    failures: list[str]
    seconds: float

    @property
    def is_good(self) -> bool:
        """Return whether nothing failed and no series grows."""
        return not self.failures and not any(item.leaks for item in self.trends)


def soak(directory: Path, seconds: float, *, crashes: int = _CRASHES, seed: int = 1) -> Outcome:
    """Soak a daemon for so long, its files below ``directory``."""
    place = Place(str(directory / "rkllm.sock"), directory)
    place.make()
    scenario = vision_scenario(directory)
    daemon = Daemon(
        directory,
        *_ARGUMENTS,
        *("--state-directory", str(place.state), "--cache-directory", str(place.caches)),
        *("--writable-directories", str(place.writable)),
        scenario=CALM,
        rknn_scenario=f"@{scenario}",
        changing=True,
        keeper=True,
        # Of an hour it would be gigabytes; the tests of tests/server/at_random judge it.
        environ={"RKLLM_SIMULATOR_TRACE": ""},
    )
    with daemon:
        course = _Course(daemon, place, Faults(daemon, scenario, seed), Load(place, seed))
        course.run(seconds, crashes)
        course.end()
    failures = course.failures + daemon.faults()
    samples = course.sampler.samples
    return Outcome(samples, report.trends(samples), course.counts, failures, course.sampler.seconds)


class _Course:
    """One soak from its beginning to its end."""

    def __init__(self, daemon: Daemon, place: Place, faults: Faults, load: Load) -> None:
        self.failures: list[str] = []
        self.counts: Counter[str] = Counter()
        self.sampler = Sampler(daemon.process.pid, place.state, daemon.log_path)
        self._daemon = daemon
        self._place = place
        self._faults = faults
        self._load = load
        self._probe = Probe(place, self.sampler)

    def run(self, seconds: float, crashes: int) -> None:
        """Let everything happen for so long; a failure ends it."""
        self._load.begin()
        self._probe.begin()
        pauses = {
            "sample": max(_LEAST_SAMPLE_SECONDS, seconds / _SAMPLES),
            "change": max(_LEAST_CHANGE_SECONDS, seconds / _CHANGES),
            "crash": seconds * _CRASHING / (crashes + 1),
        }
        due = dict(pauses)
        while (now := self.sampler.seconds) < seconds and not self._load.has_failed and not self._probe.failures:
            for what in [what for what, when in due.items() if now >= when]:
                due[what] = now + pauses[what]
                if what == "sample":
                    self.sampler.take(self._crashes, self._load.requests)
                elif self._crashes < self._faults.crashes:  # the crash that was called for has yet to come
                    due["crash"] = now + pauses["crash"] / 10
                elif what == "change":
                    self._faults.change_weather()
                elif self._faults.crashes < crashes:
                    self._faults.crash()
            time.sleep(_TURN_SECONDS)

    def end(self) -> None:
        """Let everybody leave; then the daemon holds what it should and nothing else."""
        self._faults.calm()
        self._probe.end()
        self.counts, failures = self._load.end()
        self.failures += failures + self._probe.failures
        self.counts["crashes"] = self._crashes
        if self._crashes != self._faults.crashes:
            self.failures.append(f"{self._faults.crashes} crashes were to come, {self._crashes} came")
        if not self.failures:
            try:
                self._look_for_what_is_left()
            except AssertionError as error:
                self.failures.append(f"in the end: {error}")

    @property
    def _crashes(self) -> int:
        return len(self._daemon.events("daemon_ended"))

    def _look_for_what_is_left(self) -> None:
        daemon = child_of(self._daemon.process.pid)
        with opened(Company(self._place)) as guest:
            is_idle = ("idle", 0, 1)

            def settled() -> bool:
                status = guest.ask("server.status")["result"]
                return (status["state"], status["queue_length"], status["clients"]) == is_idle

            until("an idle daemon without clients", settled)
            status = guest.ask("server.status")["result"]
            # What a client has kept that went before it could free it, perhaps since its own connection crashed.
            for memory in status["memories"]:
                guest.ask("rknn.destroy_mem", {"mem": memory["mem"]})
            for context in status["contexts"]:
                guest.ask("rknn.destroy", [context["context"]])
            left = guest.ask("server.status")["result"]
            assert (left["contexts"], left["memories"], left["matmuls"]) == ([], [], [])
            assert len(status["contexts"]) + len(status["memories"]) <= self.counts["visits: memories"] // 10 + 2, (
                status
            )
            assert left["daemon_pid"] == daemon
            assert left["store"]["failure"] is None, left["store"]

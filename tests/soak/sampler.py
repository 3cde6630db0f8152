"""What is measured again and again: the memory, descriptors and threads of both processes, files, and latencies."""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.soak.analysis import Limit

_MEBIBYTE: Final = 2**20
# The daemon serves a few hundred requests per second here, about a million in an hour: 4 MiB in an hour are four bytes
# for each of them, less than anything that could be forgotten. As much is what the allocator may take in a short run.
_MEMORY: Final = Limit(4.0, "four bytes per request", per_hour=4.0)
_BUSY_MACHINE: Final = "they follow what else the machine does"
# The series that may not grow, by the names of the columns.
LIMITS: Final = {
    "daemon_private_mib": _MEMORY,
    "daemon_pss_mib": _MEMORY,
    "keeper_private_mib": Limit(0.5, "it does nothing", per_hour=0.5),
    "daemon_descriptors": Limit(6.0, "they follow the clients, who come and go", per_hour=6.0),
    "keeper_descriptors": Limit(1.0, "it opens nothing"),
    "daemon_threads": Limit(3.0, "helper threads come and go", per_hour=3.0),
    "state_mib": Limit(2.0, "what is kept has limits, which are reached when it begins", per_hour=2.0),
    "state_files": Limit(3.0, "sockets, caches and the store's log come and go", per_hour=3.0),
    "instant_p50_ms": Limit(2.0, _BUSY_MACHINE, share=0.5),
    "instant_p99_ms": Limit(30.0, _BUSY_MACHINE, share=0.5),
    "first_token_p50_ms": Limit(60.0, _BUSY_MACHINE, share=0.5),
}


@dataclass(frozen=True)
class Sample:
    """One row: seconds since the beginning, which daemon it was (counted from 0), and what was measured."""

    seconds: float
    crashes: int
    daemon_rss_mib: float
    daemon_pss_mib: float
    daemon_private_mib: float
    daemon_descriptors: int
    daemon_threads: int
    keeper_rss_mib: float
    keeper_pss_mib: float
    keeper_private_mib: float
    keeper_descriptors: int
    keeper_threads: int
    state_mib: float
    state_files: int
    log_mib: float
    requests: int
    instant_p50_ms: float
    instant_p99_ms: float
    first_token_p50_ms: float
    first_token_p99_ms: float


@dataclass(frozen=True)
class _Process:
    rss_mib: float
    pss_mib: float
    private_mib: float
    descriptors: int
    threads: int


def child_of(keeper: int) -> int | None:
    """Return the daemon's process; None while there is none."""
    children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    return int(children[0]) if children else None


def _process(pid: int) -> _Process:
    """Return what a process has. Raises OSError if it ends meanwhile."""
    kibibytes = {"Rss:": 0, "Pss:": 0, "Private_Clean:": 0, "Private_Dirty:": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, value, *_ = line.split()
        if name in kibibytes:
            kibibytes[name] = int(value)
    rss, pss, clean, dirty = (value / 1024 for value in kibibytes.values())
    folder = Path(f"/proc/{pid}")
    return _Process(rss, pss, clean + dirty, len(os.listdir(folder / "fd")), len(os.listdir(folder / "task")))


def _files(directory: Path) -> tuple[float, int]:
    """Return the size of all files below a directory in MiB, and their number."""
    sizes = []
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                sizes.append(os.lstat(os.path.join(folder, name)).st_size)
    return sum(sizes) / _MEBIBYTE, len(sizes)


def _percentile(values: list[float], share: float) -> float:
    """Return a percentile; of nothing it is not a number."""
    ordered = sorted(values) or [math.nan]
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Sampler:
    """Takes samples of a keeper and its daemon, and of the latencies that it is told."""

    def __init__(self, keeper: int, state: Path, log: Path) -> None:
        self.samples: list[Sample] = []
        self._keeper = keeper
        self._state = state
        self._log = log
        self._began = time.monotonic()
        # Of calls since the last sample, in milliseconds; appended to by another thread.
        self.instant: list[float] = []
        self.first_token: list[float] = []

    @property
    def seconds(self) -> float:
        """Return how long it has been going on."""
        return time.monotonic() - self._began

    def take(self, crashes: int, requests: int) -> bool:
        """Take a sample; return whether there was a daemon to measure."""
        pid = child_of(self._keeper)
        if pid is None:
            return False
        try:
            daemon, keeper = _process(pid), _process(self._keeper)
        except OSError:
            return False
        instant, self.instant = self.instant, []
        first_token, self.first_token = self.first_token, []
        state_mib, state_files = _files(self._state)
        self.samples.append(
            Sample(
                seconds=self.seconds,
                crashes=crashes,
                daemon_rss_mib=daemon.rss_mib,
                daemon_pss_mib=daemon.pss_mib,
                daemon_private_mib=daemon.private_mib,
                daemon_descriptors=daemon.descriptors,
                daemon_threads=daemon.threads,
                keeper_rss_mib=keeper.rss_mib,
                keeper_pss_mib=keeper.pss_mib,
                keeper_private_mib=keeper.private_mib,
                keeper_descriptors=keeper.descriptors,
                keeper_threads=keeper.threads,
                state_mib=state_mib,
                state_files=state_files,
                log_mib=self._log.stat().st_size / _MEBIBYTE,
                requests=requests,
                instant_p50_ms=_percentile(instant, 0.5),
                instant_p99_ms=_percentile(instant, 0.99),
                first_token_p50_ms=_percentile(first_token, 0.5),
                first_token_p99_ms=_percentile(first_token, 0.99),
            )
        )
        return True

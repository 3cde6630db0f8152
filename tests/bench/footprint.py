"""What the daemon costs before it does anything: its start, its memory, its keeper, the way back from a crash.

CPU time is measured beside the clock: other programs on the machine disturb it less.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tests.daemon import Daemon


@dataclass(frozen=True)
class Start:
    """One start: seconds from exec to the line that says so, and of the processors; memory afterwards in bytes."""

    seconds: float
    cpu: float
    resident: int
    keeper_private: int


def start(folder: Path, *, keeper: bool) -> Start:
    """Start a daemon and stop it."""
    began = time.perf_counter()
    with Daemon(folder, keeper=keeper) as daemon:
        seconds = time.perf_counter() - began
        outer = daemon.process.pid
        inner = _daemon_pid(daemon) if keeper else outer
        cpu = sum(map(_cpu_seconds, {inner, outer}))
        private = private_bytes(outer) if keeper else 0
        return Start(seconds, cpu, _memory(inner, "Rss"), private)


def seconds_back(folder: Path) -> float:
    """Return how long after a crash the next request is answered; no model was loaded."""
    with Daemon(folder, keeper=True) as daemon, daemon.connect() as old:
        pid = old.ask("server.status")["result"]["daemon_pid"]
        began = time.perf_counter()
        os.kill(pid, signal.SIGSEGV)
        assert old.receive() is None
        with daemon.connect() as new:
            assert "result" in new.ask("server.queue")
        return time.perf_counter() - began


def _daemon_pid(daemon: Daemon) -> int:
    with daemon.connect() as wire:
        return int(wire.ask("server.status")["result"]["daemon_pid"])


def _cpu_seconds(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def private_bytes(pid: int) -> int:
    """Return the memory that a process shares with no other."""
    return sum(_memory(pid, name) for name in ("Private_Clean", "Private_Dirty"))


def _memory(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))

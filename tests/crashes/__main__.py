"""Prints what rounds of crashes have shown: ``python -m tests.crashes [--rounds 100]`` (make crashes).

The daemons are forked from the nursery, so that thousands of crashes take minutes. ``--only mid-generation`` executes
each daemon as an installation does: its times are those of the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import os
import sys
import tempfile
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.crashes.rounds import ENDS, FUNCTIONS, Crash, Rounds
from tests.daemon import Daemon
from tests.nursery import forking

_MID_GENERATION: Final = "mid-generation"
# A model's load there, which its client has to wait for beside the daemon's start.
_LOAD_MS: Final = 200
_LIMIT_MS: Final = 1000
# What a call may take that does not hang: a millisecond, but here the machine is busy.
_PATIENCE_MS: Final = 3000
# Of the log of a daemon that did what nobody expected.
_LOG_CHARACTERS: Final = 4000
_SHARES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "worst": 1.0}


class Findings:
    """What all rigs have found, by function and kind."""

    def __init__(self) -> None:
        self.crashes: dict[tuple[str, str], list[Crash]] = defaultdict(list)
        self._lock = threading.Lock()

    def add(self, number: int, function: str, kind: str, crash: Crash) -> None:
        """Note a crash, and print at once what is wrong with it."""
        with self._lock:
            self.crashes[function, kind].append(crash)
            for wrong in [*crash.wrong, *(f"left behind: {what}" for what in crash.leaked)]:
                print(f"  round {number}, {kind} in {function}: {wrong}", flush=True)

    @property
    def is_good(self) -> bool:
        """Return whether nothing was wrong."""
        return not any(crash.wrong or crash.leaked for crashes in self.crashes.values() for crash in crashes)

    def print_table(self) -> None:
        """Print a line for each kind in each function."""
        print(f"  {'in':<18} {'kind':<10} {'good':>9}   {'leaks':>5}   ms from the crash to the next answer")
        for (function, kind), crashes in sorted(self.crashes.items()):
            good = sum(not crash.wrong for crash in crashes)
            leaks = sum(bool(crash.leaked) for crash in crashes)
            times = _percentiles([crash.answered_ms for crash in crashes])
            print(f"  {function:<18} {kind:<10} {good:>4}/{len(crashes):<4}   {leaks:>5}   {times}")
        everything = [crash for crashes in self.crashes.values() for crash in crashes]
        good = sum(not (crash.wrong or crash.leaked) for crash in everything)
        print(f"  {good} of {len(everything)} crashes were good")

    def print_times(self) -> None:
        """Print the percentiles of the times, beside what they may be."""
        everything = [crash for crashes in self.crashes.values() for crash in crashes]
        for what, times, limit in (
            ("the next answer", [crash.answered_ms for crash in everything], _LIMIT_MS),
            ("the model's answer", [crash.generated_ms for crash in everything], _LIMIT_MS + _LOAD_MS),
        ):
            within = sum(ms <= limit for ms in times)
            print(f"  {what:<20} {_percentiles(times)}   {within} of {len(times)} within {limit} ms")


def _percentiles(times: Sequence[float]) -> str:
    ordered = sorted(times)
    at = {name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] for name, share in _SHARES.items()}
    return "   ".join(f"{name} {ms:>5.0f}" for name, ms in at.items())


def _crash(rig: int, numbers: Iterator[int], given: argparse.Namespace, findings: Findings) -> list[str]:
    """Do rounds as long as there are some; return what the memory of each keeper was."""
    is_mid = given.only == _MID_GENERATION
    functions = [function for function in FUNCTIONS if not is_mid or function.startswith("rkllm_run")]
    kinds = [kind for kind in ENDS if given.only in (None, kind, _MID_GENERATION)]
    crashes = list(itertools.product(functions, kinds))
    # Rigs that are at different places do not all wait for a call that hangs at once.
    first = rig * len(crashes) // given.rigs
    memories: list[str] = []
    rounds: Rounds | None = None
    with contextlib.ExitStack() as stack:
        for number in numbers:
            for function, kind in crashes[first:] + crashes[:first]:
                if rounds is None:
                    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                    rounds = Rounds(directory, limit_ms=_PATIENCE_MS, load_ms=_LOAD_MS if is_mid else 0)
                    stack.callback(rounds.daemon.stop)
                try:
                    crash = rounds.crash(function, kind)
                except (AssertionError, OSError):  # nobody knows in which state it is: the next one has another keeper
                    crash = Crash(math.inf, math.inf, [_what_happened(rounds.daemon)], [])
                findings.add(number, function, kind, crash)
                if crash.answered_ms == math.inf:
                    memories.append(_memory(rounds))
                    rounds = None
            if number % 10 == 0:
                print(f"  round {number}", flush=True)
        return [*memories, *([] if rounds is None else [_memory(rounds)])]


def _what_happened(daemon: Daemon) -> str:
    return f"{traceback.format_exc()}\n{daemon.log()[-_LOG_CHARACTERS:]}"


def _memory(rounds: Rounds) -> str:
    assert rounds.leftovers is not None
    memory = [size // 1024 for size in rounds.leftovers.memory]
    return f"{memory[0]} kB, {memory[len(memory) // 2]} in the middle, {memory[-1]} in the end"


def main() -> int:
    """Run them; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="of each kind in each function")
    parser.add_argument("--only", choices=(*ENDS, _MID_GENERATION), help="one kind alone, or in runs alone")
    parser.add_argument("--rigs", type=int, default=None, help="how many keepers have crashes at once")
    given = parser.parse_args()
    is_mid = given.only == _MID_GENERATION
    given.rigs = given.rigs or (1 if is_mid else 3 * (os.cpu_count() or 1))
    began, findings, numbers = time.monotonic(), Findings(), iter(range(1, given.rounds + 1))
    with (
        contextlib.nullcontext() if is_mid else forking.allowed(),
        ThreadPoolExecutor(given.rigs) as threads,
    ):
        rigs = [threads.submit(_crash, rig, numbers, given, findings) for rig in range(given.rigs)]
    memories = [memory for rig in rigs for memory in rig.result()]
    findings.print_table()
    if is_mid:
        findings.print_times()
    for memory in memories:
        print(f"  the keeper's private memory: {memory}")
    print(f"  {time.monotonic() - began:.0f} s")
    return 0 if findings.is_good else 1


if __name__ == "__main__":
    sys.exit(main())

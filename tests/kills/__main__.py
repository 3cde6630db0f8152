"""Kill the daemon: ``python -m tests.kills --rounds 1000``, this many of each kind.

Daemons and keepers are forked from the nursery, so that thousands of them take minutes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tests.kills.board import WAYS, Board
from tests.kills.power import PowerCuts
from tests.nursery import forking


def main() -> None:
    """Do the rounds of each kind, or of one, and print what became of the jobs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000, help="of each kind")
    parser.add_argument("--only", choices=(*WAYS, "kills", "power"), help="one kind alone, or all but the power")
    parser.add_argument("--rigs", type=int, default=2 * (os.cpu_count() or 1), help="how many boards at once")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        counts = Counter[str]()
        ways = [way for way in WAYS if given.only in (None, "kills", way)]
        if ways:
            # Each in a process: one that adopts daemons (tests/nursery) would get those of another keeper too.
            with ProcessPoolExecutor(given.rigs) as processes:
                parts = [len(range(rig, given.rounds, given.rigs)) for rig in range(given.rigs)]
                boards = [
                    processes.submit(_kill, Path(name), given.seed + rig, rounds, ways)
                    for rig, rounds in enumerate(parts)
                    if rounds
                ]
            for board in boards:
                counts += board.result()
        if given.only in (None, "power"):
            power = PowerCuts(Path(name) / "power", given.seed)
            _repeat(given.rounds, [power.round])
            power.close()
            counts += power.counts
    print(f"{time.monotonic() - began:.0f} s; no store was damaged, no job was lost or done twice:")
    for what, number in sorted(counts.items()):
        print(f"  {number:>8} {what}")


def _kill(directory: Path, seed: int, rounds: int, ways: list[str]) -> Counter[str]:
    with forking.allowed():
        board = Board(directory / f"kills-{seed}", seed)
        _repeat(rounds, [partial(board.round, way) for way in ways])
        board.close()
    return board.counts


def _repeat(rounds: int, kinds: list[Callable[[], None]]) -> None:
    for number in range(rounds):
        for kind in kinds:
            kind()
        if number % 50 == 49:
            print(f"  round {number + 1}", flush=True)


if __name__ == "__main__":
    main()

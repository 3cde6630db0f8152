"""Kill the daemon: ``python -m tests.kills --rounds 1000``, so many of each kind.

Daemons and keepers are forked from the nursery, so that thousands of them take minutes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
            numbers = iter(range(1, given.rounds + 1))
            with forking.allowed(), ThreadPoolExecutor(given.rigs) as threads:
                seeds = range(given.seed, given.seed + given.rigs)
                boards = [threads.submit(_kill, Path(name), seed, numbers, ways) for seed in seeds]
            for board in boards:
                counts += board.result()
        if given.only in (None, "power"):
            power = PowerCuts(Path(name) / "power", given.seed)
            _repeat(iter(range(1, given.rounds + 1)), [power.round])
            power.close()
            counts += power.counts
    print(f"{time.monotonic() - began:.0f} s; no store was damaged, no job was lost or done twice:")
    for what, number in sorted(counts.items()):
        print(f"  {number:>8} {what}")


def _kill(directory: Path, seed: int, numbers: Iterator[int], ways: list[str]) -> Counter[str]:
    board = Board(directory / f"kills-{seed}", seed)
    _repeat(numbers, [partial(board.round, way) for way in ways])
    board.close()
    return board.counts


def _repeat(numbers: Iterator[int], kinds: list[Callable[[], None]]) -> None:
    for number in numbers:
        for kind in kinds:
            kind()
        if number % 50 == 0:
            print(f"  round {number}", flush=True)


if __name__ == "__main__":
    main()

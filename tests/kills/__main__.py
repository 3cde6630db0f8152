"""Kill the daemon: ``python -m tests.kills --rounds 1000``, so many of each kind."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.kills.board import WAYS, Board
from tests.kills.power import PowerCuts


def main() -> None:
    """Do the rounds of each kind, or of one, and print what became of the jobs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000, help="of each kind")
    parser.add_argument("--only", choices=(*WAYS, "power"), help="one kind alone")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        counts = Counter[str]()
        ways = [way for way in WAYS if given.only in (None, way)]
        if ways:
            board = Board(Path(name) / "kills", given.seed)
            _repeat(given.rounds, [partial(board.round, way) for way in ways])
            board.close()
            counts += board.counts
        if given.only in (None, "power"):
            power = PowerCuts(Path(name) / "power", given.seed)
            _repeat(given.rounds, [power.round])
            power.close()
            counts += power.counts
    print(f"{time.monotonic() - began:.0f} s; no store was damaged, no job was lost or done twice:")
    for what, number in sorted(counts.items()):
        print(f"  {number:>8} {what}")


def _repeat(rounds: int, kinds: list[Callable[[], None]]) -> None:
    for number in range(rounds):
        for kind in kinds:
            kind()
        if number % 50 == 49:
            print(f"  round {number + 1}", flush=True)


if __name__ == "__main__":
    main()

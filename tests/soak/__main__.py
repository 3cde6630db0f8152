"""Soak the daemon: ``python -m tests.soak --hours 1``; exit status 1 if anything failed or grows."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak import report
from tests.soak.soak import soak


def main() -> int:
    """Soak; write samples.csv and soak.png, print what was done and how each series has gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0, help="how long, 1 if not given; 0.1 are six minutes")
    parser.add_argument("--output", type=Path, default=Path("build/soak"), help="where samples.csv and soak.png go")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        outcome = soak(Path(name), given.hours * 3600, seed=given.seed)
        log = (Path(name) / "daemon.log").read_bytes()
    (given.output / "daemon.log").write_bytes(log)
    with (given.output / "samples.csv").open("w", newline="") as file:
        report.write(outcome.samples, file)
    report.draw(outcome.samples, given.output / "soak.png")
    print(f"{outcome.seconds:.0f} s")
    for what, number in sorted(outcome.counts.items()):
        print(f"  {number:>10} {what}")
    print(report.table(outcome.trends))
    for failure in outcome.failures:
        print(f"FAILED: {failure}")
    print(f"{given.output}/soak.png and samples.csv show all samples; {'good' if outcome.is_good else 'NOT GOOD'}.")
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())

"""Prints what so many rounds of crashes have shown: ``python -m tests.crashes [ROUNDS]`` (make crashes)."""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from tests.crashes.rounds import ENDS, FUNCTIONS, Crash, Rounds


def main() -> int:
    """Run them; return 1 if anything was wrong."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    found: dict[tuple[str, str], list[Crash]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as directory:
        rounds = Rounds(Path(directory))
        try:
            for number in range(count):
                for function in FUNCTIONS:
                    for kind in ENDS:
                        crash = rounds.crash(function, kind)
                        found[function, kind].append(crash)
                        for wrong in crash.wrong:
                            print(f"round {number + 1}, {kind} in {function}: {wrong}", flush=True)
        finally:
            rounds.daemon.stop()
    for (function, kind), crashes in found.items():
        good = sum(not crash.wrong for crash in crashes)
        times = sorted(crash.answered_ms for crash in crashes)
        figures = f"answered in {times[len(times) // 2]:.0f} ms (median), {times[-1]:.0f} ms (longest)"
        print(f"  {kind:<10} in {function:<18} {good:>4} of {len(crashes):<4} {figures}")
    return int(any(crash.wrong for crashes in found.values() for crash in crashes))


if __name__ == "__main__":
    sys.exit(main())

"""Torture the daemon: ``python -m tests.torture``; exit status 1 if it did not take a failure as it should."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.torture.torture import ERRORS, FUNCTIONS, Torture

# A scenario allocates some thousand times.
_EVERY: Final = {"allocate": 7}


def main() -> int:
    """Let every k-th call of each kind fail, or some; print how many there were and what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=(*ERRORS, "c"), action="append", help="one kind of calls; c: the runtimes'")
    parser.add_argument("--every", type=int, default=1, help="of the calls of each kind, only each n-th")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        torture = Torture(Path(name) / "torture")
        for kind in given.only or (*ERRORS, "c"):
            for what in _rounds(torture, kind, given.every):
                print(what, flush=True)
        torture.close()
    print(f"{time.monotonic() - began:.0f} s")
    for what, number in sorted(torture.counts.items()):
        print(f"  {number:>8} {what}")
    for failure in torture.failures:
        print(f"WRONG after {failure.what}:", *failure.wrong, sep="\n    ")
    return 1 if torture.failures else 0


def _rounds(torture: Torture, kind: str, every: int) -> Iterator[str]:
    if kind == "c":
        for function in FUNCTIONS:
            for once in (True, False):
                torture.fail_in_c(function, once=once)
        yield f"{kind}: {len(FUNCTIONS)} functions, once and each time"
        return
    step = every * _EVERY.get(kind, 1)
    for number in ERRORS[kind]:
        calls = torture.calls(kind)
        for k in range(1, calls + 1, step):
            torture.fail(kind, k, number)
        yield f"{kind}: {calls} calls, each {step}. failed with errno {number}"


if __name__ == "__main__":
    sys.exit(main())

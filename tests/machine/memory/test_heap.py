"""Memory of large blocks that were freed, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Large blocks teach glibc to take the next ones from the heap, where small ones that stay keep them in.
_PROGRAM = """
import os, sys
from rkllmd.machine.memory import heap
if sys.argv[1:]:
    heap.return_large_blocks()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
before = resident()
kept = []
for _ in range(8):
    large = bytes(b"x" * (8 << 20))
    del large
    blocks = [bytes(b"x" * (4 << 20)) for _ in range(4)]
    kept += [bytes(600) for _ in range(100)]
    del blocks
print(resident() - before)
"""


@pytest.mark.parametrize("returns", [True, False])
def test_large_blocks_are_returned(*, returns: bool) -> None:
    arguments = [sys.executable, "-c", _PROGRAM, *(["it"] if returns else [])]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    assert (int(done.stdout) < 4 << 20) is returns

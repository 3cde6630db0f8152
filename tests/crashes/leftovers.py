"""What a crash may leave behind: descriptors of the keeper and of the next daemon, processes, files, memory."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Final

from tests.bench.footprint import private_bytes
from tests.daemon import Daemon
from tests.soak.sampler import child_of

# What is being closed is closed by then.
_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.005
# What is the same this many times stays so.
_SAME: Final = 50


class Leftovers:
    """Compares what there is now with what there was in the beginning, when nobody was connected."""

    def __init__(self, daemon: Daemon, state: Path) -> None:
        self._keeper = daemon.process.pid
        self._folders = (daemon.directory, state)
        self._expected = self._settled()
        # The keeper's own, in bytes: in the beginning, and after each crash.
        self.memory = [private_bytes(self._keeper)]

    def found(self, patience_seconds: float = _SECONDS) -> list[str]:
        """Return what is more or less than it was, after some patience."""
        self.memory.append(private_bytes(self._keeper))
        deadline = time.monotonic() + patience_seconds
        while (present := self._present()) != self._expected and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return [
            f"{what}: more {dict(present[what] - expected)}, less {dict(expected - present[what])}"
            for what, expected in self._expected.items()
            if present[what] != expected
        ]

    def _settled(self) -> dict[str, Counter[str]]:
        """Return what there is when nothing is being closed any more."""
        seen = [self._present()]
        while len(seen) < _SAME or any(before != seen[-1] for before in seen[-_SAME:]):
            time.sleep(_POLL_SECONDS)
            seen.append(self._present())
        return seen[-1]

    def _present(self) -> dict[str, Counter[str]]:
        child = child_of(self._keeper)
        children = Path(f"/proc/{self._keeper}/task/{self._keeper}/children").read_text().split()
        files = [path.relative_to(folder) for folder in self._folders for path in folder.rglob("*")]
        return {
            "the keeper's descriptors": _descriptors(self._keeper),
            "the keeper's processes": Counter(daemons=len(children)),
            "the daemon's descriptors": Counter() if child is None else _descriptors(child),
            "files": Counter(map(str, files)),
        }


def _descriptors(pid: int) -> Counter[str]:
    """Return what a process has open: names of files, and kinds of what has none."""
    found = Counter[str]()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            found[os.readlink(entry.path).partition(":[")[0]] += 1
        except OSError:  # it was closed meanwhile
            found["closed"] += 1
    return found

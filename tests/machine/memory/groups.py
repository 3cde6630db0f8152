"""Control groups for a real daemon: it sees a folder of the test in place of theirs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

CACHED = 2**20


def fill(folder: Path, limit: int, used: int) -> None:
    """Let a daemon's outermost group have this limit, and have used this much of it, ``CACHED`` of it for files."""
    for name, text in {
        "memory.max": f"{limit}",
        "memory.current": f"{used}",
        "memory.stat": f"anon 1\ninactive_file {CACHED}",
        "memory/memory.limit_in_bytes": f"{limit}",
        "memory/memory.usage_in_bytes": f"{used}",
        "memory/memory.stat": f"cache 1\ntotal_inactive_file {CACHED}",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def in_a_group(folder: Path) -> list[str]:
    """Return a launcher that shows a folder as the tree of the control groups."""
    mount = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /sys/fs/cgroup && exec "$@"', str(folder)]
    for launcher in (mount, [mount[0], "-r", *mount[1:]]):
        if subprocess.run([*launcher, "true"], capture_output=True, check=False).returncode == 0:
            return launcher
    pytest.skip("nobody may mount anything here")

"""The limits that control groups set to the memory of this process: its own group's, and those of the groups around it.

Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst, cgroups(7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Final

from rkllmd.machine.memory.room import Room

Read = Callable[[str], str | None]
"""Returns what a file has, by its path below the root of the machine; None where it can't be read."""

# Version 1 says "unlimited" with the largest number of pages.
_UNLIMITED: Final = 2**62
_OWN: Final = "proc/self/cgroup"
_V2: Final = "sys/fs/cgroup"
_V1: Final = "sys/fs/cgroup/memory"


def rooms(read: Read) -> list[Room]:
    """Return a room for each group that has a limit, the process's own group first."""
    found: list[Room] = []
    for line in (read(_OWN) or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        of_group: Callable[[Read, str, str], Room | None]
        if controllers == "" and path.startswith("/"):
            mounted, of_group = _V2, _of_v2
        elif "memory" in controllers.split(","):
            mounted, of_group = _V1, _of_v1
        else:
            continue
        found += [room for group in _upwards(path) if (room := of_group(read, mounted + group, group or "/"))]
    return found


def _upwards(path: str) -> Iterator[str]:
    """Yield a group's path and those of the groups around it; "" for the outermost one that can be seen.

    In a container the path may be the one that the machine knows, of which nothing is there, or lead out of what can be
    seen ("/../..").
    """
    group = PurePosixPath(path)
    while group.name:
        if ".." not in group.parts:
            yield str(group)
        group = group.parent
    yield ""


def _of_v2(read: Read, folder: str, group: str) -> Room | None:
    """Return the room in a group of version 2; above memory.high, all that it does is slowed down to a halt."""
    limits = [_number(read(f"{folder}/memory.{name}")) for name in ("max", "high")]
    used = _number(read(f"{folder}/memory.current"))
    return _room(read, folder, group, min(limits), used, "inactive_file")


def _of_v1(read: Read, folder: str, group: str) -> Room | None:
    limit = _number(read(f"{folder}/memory.limit_in_bytes"))
    used = _number(read(f"{folder}/memory.usage_in_bytes"))
    return _room(read, folder, group, limit, used, "total_inactive_file")


def _room(read: Read, folder: str, group: str, limit: int, used: int, reclaimable: str) -> Room | None:
    """Return the room; None for a group without a limit, or that does not say what it has used."""
    if limit >= _UNLIMITED or used >= _UNLIMITED:
        return None
    # The page cache of files that nobody reads any more is given back before anything is killed.
    lines = (line.split() for line in (read(f"{folder}/memory.stat") or "").splitlines())
    cached = next((int(line[1]) for line in lines if len(line) == 2 and line[0] == reclaimable), 0)
    return Room(f"the control group {group}", limit, min(limit, max(0, limit - used + cached)))


def _number(text: str | None) -> int:
    """Return what a file says; no limit for "max", and for a file that is not there or says something else."""
    found = (text or "").strip()
    return int(found) if found.isdecimal() else _UNLIMITED

"""How often the kernel has killed a process because memory was short: whoever is killed is not told why."""

from __future__ import annotations

# name -> count; on a machine without cgroups (v2), or in a container that doesn't show them, one of these is missing.
_MACHINE = "/proc/vmstat"
_OWN_GROUP = "/proc/self/cgroup"
_GROUPS = "/sys/fs/cgroup"
_NAME = b"oom_kill"


def count() -> int:
    """Return the kills in this process's control group (cgroups(7), memory.events) and on the machine, together."""
    return _counted(f"{_GROUPS}{_group()}/memory.events") + _counted(_MACHINE)


def _group() -> str:
    try:
        with open(_OWN_GROUP, "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    return next((line[3:].decode("utf-8", "surrogateescape") for line in lines if line.startswith(b"0::")), "")


def _counted(path: str) -> int:
    try:
        with open(path, "rb") as file:
            found = [line.split() for line in file.read().splitlines()]
        return sum(int(words[1]) for words in found if words[:1] == [_NAME])
    except (OSError, ValueError, IndexError):
        return 0

"""What Linux says of processes in /proc."""

from __future__ import annotations

from pathlib import Path


def state_of(process: Path) -> str:
    """Return the letter of the state of a process or thread, by its folder in /proc (proc(5)); "" once it has gone."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descendants(pid: int) -> list[int]:
    """Return the processes below a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *descendants(child)]
    return found

"""The shim that stands before the C library in the daemon's process (shim.c): building and steering it."""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.daemon import BUILD_DIRECTORY

_SOURCE: Final = Path(__file__).with_name("shim.c")
_FLAGS: Final = ("-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread")
# enum kind.
KINDS: Final = ("allocate", "map", "send", "receive", "accept", "read", "write", "open", "synchronise")
# struct control.
_CONTROL: Final = struct.Struct(f"@IIQii{len(KINDS)}QQ")


def library() -> Path:
    """Return the shim, compiled once for each content of its source."""
    BUILD_DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    content = hashlib.sha256(_SOURCE.read_bytes() + " ".join(_FLAGS).encode()).hexdigest()[:16]
    path = BUILD_DIRECTORY / f"shim-{content}.so"
    if not path.exists():
        beside = path.with_suffix(f".{os.getpid()}")
        subprocess.run([os.environ.get("CC", "cc"), *_FLAGS, "-o", str(beside), str(_SOURCE)], check=True)
        beside.rename(path)
    return path


def environment(*, control: Path | None = None, synced: Path | None = None) -> Mapping[str, str]:
    """Return the variables of a process that has the shim."""
    found = {"LD_PRELOAD": str(library())}
    if control is not None:
        found["RKLLMD_SHIM_CONTROL"] = str(control)
    if synced is not None:
        found["RKLLMD_SHIM_SYNCED"] = str(synced)
    return found


class Control:
    """The memory that the test shares with the shim in each process of the daemon."""

    def __init__(self, path: Path) -> None:
        """Make the file, before the daemon is started."""
        self.path = path
        path.write_bytes(bytes(_CONTROL.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _CONTROL.size)

    def arm(self, process: int, kind: str, k: int, number: int) -> None:
        """Let the k-th call of a kind in a process from now on fail with an errno; with 0 they are only counted."""
        self.disarm()
        index = KINDS.index(kind)
        _CONTROL.pack_into(self._memory, 0, 0, index, k, number, process, *[0] * len(KINDS), 0)
        struct.pack_into("@I", self._memory, 0, 1)

    def disarm(self) -> tuple[int, bool]:
        """Leave everything alone; return how many calls were counted, and whether the k-th was among them."""
        struct.pack_into("@I", self._memory, 0, 0)
        _, kind, _, _, _, *counts, failed = _CONTROL.unpack_from(self._memory, 0)
        return counts[kind], failed > 0

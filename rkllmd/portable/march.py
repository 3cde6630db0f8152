"""For which processor the engine and our own sources are compiled: ``python rkllmd/portable/march.py`` prints it.

On ARM that is worked out here, from what all processors of the machine have. The compiler's ``native`` looks at one
processor only, which on a board with two kinds may have more than the others, and older compilers do not know the
boards' processors. On other machines it is ``native``. RKLLMD_MARCH in the environment names another processor: to
build for another machine.

Only the standard library is imported: this runs before anything is installed.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Final

NATIVE: Final = "native"
# Written into the engine's folder by engine.cmake.
RECORD: Final = "rkllmd-march.txt"
_CPUINFO: Final = Path("/proc/cpuinfo")
_ARM: Final = ("aarch64", "arm64")
_BASE: Final = "armv8-a"
# What armv8.2-a allows the compiler to use beyond armv8-a, by the kernel's names.
_BASE_8_2: Final = ("armv8.2-a", frozenset({"atomics", "asimdrdm", "crc32"}))
# What the engine's arithmetic gains from, by the compiler's name and the kernel's names: products of 8-bit numbers
# (all quantised models), half precision, matrices of 8-bit numbers. SVE is left out: its width differs between
# processors, and code for it has killed processes on boards that lack it.
_FEATURES: Final = (
    ("dotprod", frozenset({"asimddp"})),
    ("fp16", frozenset({"fphp", "asimdhp"})),
    ("i8mm", frozenset({"i8mm"})),
)


def wanted() -> str:
    """Return for which processor to compile on this machine."""
    return os.environ.get("RKLLMD_MARCH") or _of_this_machine()


def of(machine: str, cpuinfo: str) -> str:
    """Return what to compile for, by the machine's name and the contents of its /proc/cpuinfo."""
    if machine not in _ARM:
        return NATIVE
    common = _common_features(cpuinfo)
    base, needed = _BASE_8_2
    if not needed <= common:
        return _BASE
    return "+".join([base, *(name for name, flags in _FEATURES if flags <= common)])


def lacking(march: str, machine: str, cpuinfo: str) -> list[str]:
    """Return what code compiled for ``march`` uses and this machine does not have, as far as that can be known."""
    if machine not in _ARM or not march.startswith("armv8"):
        return []
    common = _common_features(cpuinfo)
    if not common:
        return []
    base, *features = march.split("+")
    needed = [(name, flags) for name, flags in _FEATURES if name in features]
    needed += [_BASE_8_2] if base == _BASE_8_2[0] else []
    return [name for name, flags in needed if not flags <= common]


def missing_here(march: str) -> list[str]:
    """Return what of ``march`` this machine does not have."""
    return lacking(march, platform.machine(), _cpuinfo())


def recorded(libraries: Path) -> str:
    """Return for which processor the engine in this folder was compiled; ``native`` if nothing is recorded."""
    try:
        return (libraries / RECORD).read_text().strip() or NATIVE
    except OSError:
        return NATIVE


def flags(march: str) -> tuple[str, ...]:
    """Return the compiler's options for our own sources: none for ``native``, since they do no arithmetic to speak of.

    So a library that was built on one x86 machine runs on another.
    """
    return () if march == NATIVE else (f"-march={march}",)


def _of_this_machine() -> str:
    return of(platform.machine(), _cpuinfo())


def _cpuinfo() -> str:
    try:
        return _CPUINFO.read_text("utf-8", "replace")
    except OSError:
        return ""


def _common_features(cpuinfo: str) -> frozenset[str]:
    """Return what all processors have, by the kernel's names."""
    lists = [
        frozenset(line.partition(":")[2].split())
        for line in cpuinfo.splitlines()
        if line.partition(":")[0].strip() == "Features"
    ]
    return frozenset.intersection(*lists) if lists else frozenset()


def main(arguments: list[str]) -> int:
    """Print what is wanted; with the engine's folder as argument, exit with 0 if it was compiled for that, else 1."""
    if arguments:
        return 0 if recorded(Path(arguments[0])) == wanted() else 1
    sys.stdout.write(f"{wanted()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Compile the simulators: ``build("1.3", "1.3.0", directory)`` returns the path of a ``librkllmrt.so``.

``build_rknn("2.3.2", directory)`` returns that of a ``librknnrt.so``, ``build_operator(directory)`` that of a plug-in
with a custom operator for it.

Version and layout are separate, so that a test can make a library that is too old (1.1.4), unknown (9.9.9), or lies:
one whose version string says 1.3.0 while its structs are those of 1.2.

By hand: ``python -m tests.simulator.build 1.3 1.3.0 build``, ``python -m tests.simulator.build rknn 2.3.2 build``
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

LAYOUTS = {"1.2": "120", "1.3": "130", "1.3.1": "131"}
SOURCES = Path(__file__).parent
SHARED = ("faults.c", "report.c", "scenario.c")
OPERATOR = SOURCES / "rknn" / "example_operator.c"
HEADERS = SOURCES.parents[1] / "rkllmd" / "abi"
FLAGS = ("-std=c11", "-O1", "-g", "-pthread", "-Wall", "-Wextra", "-Werror")
OF_LIBRARIES = ("-shared", "-fPIC", "-fvisibility=hidden")

_VERSION = re.compile(r"[\w.+~-]+")


def build(layout: str, version: str, directory: Path, flags: Sequence[str] = ()) -> Path:
    """Return a simulator with the structs of ``layout`` (a key of LAYOUTS) whose version string names ``version``.

    Compiled once per content of the sources into a folder of its own under ``directory``; several processes may build
    at the same time. ``flags`` are added to the compiler's (``-fsanitize=address``). ``CC`` names another compiler.

    Raises ValueError for an unknown layout or a version that can't stand in a file name, and RuntimeError with the
    compiler's words when it fails.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is none of {', '.join(LAYOUTS)}")
    options = (f"-DRKLLM_LAYOUT={LAYOUTS[layout]}", f'-DRKLLM_VERSION="{_checked(version)}"')
    sources = sorted(SOURCES.glob("*.c"))
    return _build(directory, f"simulator-{version}-{LAYOUTS[layout]}", "librkllmrt.so", [*flags, *options], sources)


def build_rknn(version: str, directory: Path, flags: Sequence[str] = ()) -> Path:
    """Return a simulator of RKNN, all of whose functions are those of 2.3.2, whose version string names ``version``.

    Everything else is as in ``build``.
    """
    options = (
        *("-DSIMULATES_RKNN", f'-DRKNN_VERSION="{_checked(version)}"', f"-I{SOURCES}"),
        # By this name the loader finds the library that is loaded already when a plug-in needs it.
        "-Wl,-soname,librknnrt.so",
    )
    return _build(directory, f"rknn-simulator-{version}", "librknnrt.so", [*flags, *options], rknn_sources())


def rknn_sources() -> list[Path]:
    """Return the files that the simulator of RKNN is compiled from."""
    own = [path for path in sorted((SOURCES / "rknn").rglob("*.c")) if path != OPERATOR]
    return own + [SOURCES / name for name in SHARED]


def build_operator(directory: Path) -> Path:
    """Return a plug-in that exports ``get_rknn_custom_op``; load it after a simulator of RKNN, which it needs."""
    library = build_rknn("2.3.2", directory)
    return _build(directory, "rknn-operator", "librkcst_scale.so", [f"-L{library.parent}"], [OPERATOR], ["-lrknnrt"])


def build_program(name: str, library: Path, directory: Path, flags: Sequence[str] = ()) -> Path:
    """Return the program ``programs/NAME.c``, linked with a simulator, which it finds wherever that is.

    ``flags`` are the compiler's, such as the layout of RKLLM's structs.
    """
    source = SOURCES / "programs" / f"{name}.c"
    linked = [f"-L{library.parent}", f"-Wl,-rpath,{library.parent}", f"-l:{library.name}", "-lm"]
    return _build(directory, f"program-{name}", name, [*flags, "-D_GNU_SOURCE"], [source], linked, of_kind=())


def _checked(version: str) -> str:
    """Return ``version`` if it can stand in a file name."""
    if not _VERSION.fullmatch(version):
        raise ValueError(f"version {version!r} has characters that can't stand in a file name")
    return version


def _build(
    directory: Path,
    title: str,
    name: str,
    options: Sequence[str],
    sources: Sequence[Path],
    libraries: Sequence[str] = (),
    of_kind: Sequence[str] = OF_LIBRARIES,
) -> Path:
    """Compile ``sources`` unless that has been done; return the path of what is made."""
    command = [*shlex.split(os.environ.get("CC", "cc")), *FLAGS, *of_kind, *options, f"-I{HEADERS}"]
    target = directory / f"{title}-{_digest([*command, *libraries], sources)}" / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        _compile([*command, *map(str, sources), *libraries], target)
    return target


def _digest(command: Sequence[str], sources: Sequence[Path]) -> str:
    """Return a hash of all that the library is made of."""
    digest = hashlib.sha256("\0".join(command).encode())
    for path in (*sources, *sorted(SOURCES.rglob("*.h")), *sorted(HEADERS.glob("*.h"))):
        content = path.read_bytes()
        digest.update(f"\0{path.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def _compile(command: Sequence[str], target: Path) -> None:
    """Run the compiler into a file of its own and rename it, so that nobody ever loads half a library."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        output = Path(scratch) / target.name
        try:
            done = subprocess.run([*command, "-o", str(output)], capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise RuntimeError(
                f"The C compiler {command[0]!r} is missing; on Debian and Ubuntu: apt-get install gcc libc6-dev"
            ) from error
        if done.returncode:
            raise RuntimeError(f"The simulator does not compile:\n{done.stderr}")
        output.replace(target)


def main(arguments: Sequence[str]) -> None:
    """Build what the command line names and print where it is."""
    if len(arguments) != 3:
        sys.exit("usage: python -m tests.simulator.build <layout: 1.2, 1.3 or 1.3.1, or rknn> <version> <directory>")
    layout, version, directory = arguments
    if layout == "rknn":
        print(build_rknn(version, Path(directory)))
    else:
        print(build(layout, version, Path(directory)))


if __name__ == "__main__":
    main(sys.argv[1:])

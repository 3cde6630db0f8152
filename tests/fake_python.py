"""A Python for the tests of the installation, which takes no network and no time: ``make(folder, name, version)``.

It answers -c as a Python of that version would, makes an empty virtual environment, and writes down what its pip is
told. Everything else is done by the real one.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

LOG = "FAKE_PYTHON_LOG"
PIP_FAILS = "FAKE_PIP_FAILS"


def make(folder: Path, name: str, version: str = "3.12", *, has_venv: bool = True) -> Path:
    """Write the program; return its path."""
    folder.mkdir(exist_ok=True, parents=True)
    program = folder / name
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$0" {version} {int(has_venv)} "$@"\n')
    program.chmod(0o755)
    return program


def _answer(code: str, version: str, *, has_venv: bool) -> None:
    major, minor = map(int, version.split("."))
    sys.version_info = (major, minor, 0, "final", 0)  # type: ignore[assignment]
    if not has_venv:
        sys.modules["ensurepip"] = None  # type: ignore[assignment]
    exec(code, {})


def _make_venv(program: Path, folder: Path, version: str, *, clear: bool) -> None:
    binaries = folder / "bin"
    if clear:
        shutil.rmtree(folder, ignore_errors=True)
    binaries.mkdir(parents=True)
    (folder / "lib" / f"python{version}" / "site-packages").mkdir(parents=True)
    (folder / "lib" / "module.py").write_text("def where(): return where.__code__.co_filename\n")
    (folder / "pyvenv.cfg").write_text(f"command = {program} -m venv {folder}\n")
    (binaries / "python").write_text(program.read_text())
    (binaries / "pip").write_text(f'#!/bin/sh\nexec {binaries}/python -m pip "$@"\n')
    for path in binaries.iterdir():
        path.chmod(0o755)


def _install(program: Path, arguments: list[str]) -> int:
    with Path(os.environ[LOG]).open("a") as log:
        log.write(json.dumps(arguments) + "\n")
    if os.environ.get(PIP_FAILS):
        sys.stderr.write("ERROR: no network\n")
        return 1
    (program.parent / "rkllmd").write_text(f"#!{program}\n")
    return 0


def main() -> int:
    """Do as the arguments say."""
    program, version, has_venv, *arguments = sys.argv[1:]
    match arguments:
        case ["-c", code]:
            _answer(code, version, has_venv=has_venv == "1")
            return 0
        case ["-m", "venv", *options, folder]:
            _make_venv(Path(program), Path(folder), version, clear="--clear" in options)
            return 0
        case ["-m", "pip", *rest]:
            return _install(Path(program), rest)
    return os.execv(sys.executable, [sys.executable, *arguments])


if __name__ == "__main__":
    sys.exit(main())

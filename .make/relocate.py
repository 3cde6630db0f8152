"""relocate.py STAGED FINAL: make a virtual environment that was put together at STAGED name FINAL, where it will be.

Its programs and its configuration name the interpreter, its compiled files their sources, which tracebacks show.
"""

from __future__ import annotations

import compileall
import sys
from pathlib import Path


def relocate(staged: Path, final: Path) -> None:
    """Rewrite what names ``staged``; compile the modules, as those of ``final``."""
    old, new = str(staged).encode(), str(final).encode()
    for path in [staged / "pyvenv.cfg", *(staged / "bin").iterdir()]:
        if path.is_file() and not path.is_symlink() and old in (content := path.read_bytes()):
            path.write_bytes(content.replace(old, new))
    compileall.compile_dir(
        str(staged / "lib"),
        quiet=2,  # some packages bring templates that are no Python
        force=staged != final,  # venv itself has compiled pip
        stripdir=str(staged),
        prependdir=str(final),
    )


if __name__ == "__main__":
    relocate(Path(sys.argv[1]), Path(sys.argv[2]))

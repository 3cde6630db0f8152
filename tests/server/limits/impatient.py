"""Runs the daemon, with clients taken for idle at once: ``python impatient.py PYTHON -m rkllmd serve …``."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from rkllmd.net import admission


def main() -> None:
    """Run the daemon that the command line names."""
    setattr(admission, "IDLE_SECONDS", 0.0)  # noqa: B010 - mypy is right to refuse the plain assignment
    _, _, _, module, *arguments = sys.argv
    sys.argv = [module, *arguments]
    sys.path.insert(0, str(Path.cwd()))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

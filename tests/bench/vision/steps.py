"""Runs the daemon and notes its event loop's longest steps: ``python steps.py FILE PYTHON -m rkllmd serve …``.

What a client waits for depends on the machine's scheduler as well. The CPU time of a step of the loop does not: so long
nobody else can be served, whatever the machine. Written to FILE at the end: steps, longest CPU and wall time in ms.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path
from typing import Any

import trio


class Steps(trio.abc.Instrument):
    """The longest steps since the first client came; what is done before that is the start."""

    def __init__(self) -> None:
        self.count = 0
        self.cpu = self.wall = 0.0
        self._started = (0.0, 0.0)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note when a step begins."""
        self._started = (time.thread_time(), time.perf_counter())

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note how long it took."""
        cpu, wall = time.thread_time() - self._started[0], time.perf_counter() - self._started[1]
        if self.count or task.name.endswith("Clients._serve"):
            self.count += 1
            self.cpu, self.wall = max(self.cpu, cpu), max(self.wall, wall)


def main() -> None:
    """Run the daemon that the command line names."""
    file, (_, _, module, *arguments) = sys.argv[1], sys.argv[2:]
    steps, run = Steps(), trio.run

    def run_watched(*given: Any, **options: Any) -> Any:
        try:
            return run(*given, **options, instruments=[steps])
        finally:
            Path(file).write_text(f"{steps.count} {1000 * steps.cpu:.3f} {1000 * steps.wall:.3f}")

    setattr(trio, "run", run_watched)  # noqa: B010 - mypy is right to refuse the plain assignment
    sys.argv = [module, *arguments]
    sys.path.insert(0, str(Path.cwd()))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

"""``rkllmd serve`` becomes two processes: the daemon, and this one, its keeper."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from rkllmd.keeper import spawn
from rkllmd.keeper.spawn import Child
from rkllmd.keeper.ties import Ties

# Its own command line has these; the daemon alone, or a text, is what is asked for.
_WITHOUT = ("--no-keeper", "-h", "--help")


def is_wanted(arguments: list[str]) -> bool:
    """Return whether the command is to have a keeper."""
    return arguments[:1] == ["serve"] and not any(argument in _WITHOUT for argument in arguments)


def divide() -> None:
    """Fork the daemon, in which this returns; the process itself becomes the keeper, and ends with it."""
    given = sys.argv[1:]
    # As the interpreter was started, so that the daemons after a crash find the same modules.
    before = sys.orig_argv[1 : len(sys.orig_argv) - len(given)]
    command = [sys.executable, *before, "serve", "--no-keeper", *given[1:]]
    signal.pthread_sigmask(signal.SIG_BLOCK, spawn.SIGNALS)  # until there is somebody to obey them
    made = spawn.fork(os.environ, Ties())
    if made is None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, spawn.SIGNALS)
        return
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as file:  # only a name
        file.write("rkllmd-keeper")
    from rkllmd.keeper.keeper import Keeper  # which the daemon need not load

    sys.exit(Keeper(Child(*made), command, dict(os.environ)).run())

"""What becomes of ``execve`` in a process from the nursery: where it would execute Python, it is that program at once.

A keeper executes a daemon after each crash. What a program inherits, and what the kernel and the interpreter set back,
is done here as they do it; only the interpreter's start and the imports are left out.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final, NoReturn
from unittest import mock

from rkllmd import __main__ as command
from rkllmd.abi.c import this_process

# The interpreter's options, and what runs then.
_PROGRAMS: Final[dict[tuple[str, ...], Callable[[], int | None]]] = {
    ("-m", "rkllmd"): command.main,
}
_execve: Final = os.execve


def replace_execution(generators: Sequence[Random]) -> None:
    """Have this process and its children do so; each program begins with other random numbers."""

    def execve(path: str, argv: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
        for options, program in _PROGRAMS.items():
            given = len(options) + 1
            if path == sys.executable and tuple(argv[1:given]) == options:
                begin(["rkllmd", *argv[given:]], dict(environ), generators)
                run(program)
        _execve(path, list(argv), environ)

    mock.patch.object(os, "execve", execve).start()


def begin(argv: Sequence[str], environ: Mapping[str, str], generators: Sequence[Random]) -> None:
    """Set back what execve(2) and the start of Python do."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # of the list itself
            if int(name) > 2 and not os.get_inheritable(int(name)):
                os.close(int(name))
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for generator in generators:
        generator.seed()
    os.environ.clear()
    os.environ.update(environ)
    sys.argv[:] = argv
    # With which a keeper starts its next daemons.
    sys.orig_argv[:] = [sys.executable, "-m", "rkllmd", *argv[1:]]


def run(program: Callable[[], int | None]) -> NoReturn:
    """Run it and end the process with its status: the frames that are below belong to the program before."""
    status: object = 1
    try:
        status = program()
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    this_process().exit(status or 0)  # and what C has to do at its end
    raise AssertionError("exit(3) does not return")

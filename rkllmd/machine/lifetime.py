"""What ends the daemon beside its own signals: nothing, or the end of its terminal, or of the process that started it.

SIGHUP means two things: to a service, "read the configuration anew"; to a program that a person has started, "your
terminal is gone" (signal(7)).
"""

from __future__ import annotations

import os
import signal
from typing import Final

from rkllmd.abi.c import this_process

NOTHING: Final = "nothing"
TERMINAL: Final = "terminal"
PARENT: Final = "parent"

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_STDERR: Final = 2


def decide(setting: str) -> str:
    """Return what ends the daemon, by the setting ``ends_with`` and by how this process was started.

    To be called before standard error is redirected. A program that nohup(1) has started ignores SIGHUP: it stays when
    the terminal ends.
    """
    if setting != "auto":
        return setting
    stays = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return TERMINAL if os.isatty(_STDERR) and not stays else NOTHING


def end_with_parent() -> None:
    """Let the kernel send SIGTERM when the process that started this one ends, in whatever way (prctl(2))."""
    this_process().prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

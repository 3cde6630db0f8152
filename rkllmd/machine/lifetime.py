"""What the daemon's life hangs on beside its own signals: nothing, its terminal, or the process that started it.

SIGHUP means two things: "read the configuration anew" to a service, "your terminal is gone" to a program that a person
has started (signal(7)).
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
    """Return what the life hangs on, by the setting ``ends_with`` and what this process was started with.

    To be called before standard error is redirected. A program that nohup(1) has started ignores SIGHUP: it is to stay.
    """
    if setting != "auto":
        return setting
    is_to_stay = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return TERMINAL if os.isatty(_STDERR) and not is_to_stay else NOTHING


def end_with_parent() -> None:
    """Have the kernel send SIGTERM when the process that started this one ends, in whatever way (prctl(2))."""
    this_process().prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

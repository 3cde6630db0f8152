"""What ties a daemon to its keeper: descriptors, of which an environment variable tells the numbers; and their words.

A daemon is told what is to be done by the words below, one in a message, on a socketpair that keeps messages apart. It
tells the service manager what it has to say through the same socket, as sd_notify(3) has it, and the keeper what is
between the two of them by the names that begin with ``X_``.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

VARIABLE = "RKLLMD_KEEPER"

# From the keeper: leave in order; leave at once; what SIGHUP means is the daemon's to know; your socket is listening.
STOP, HURRY, HANGUP, LISTENING = b"stop", b"hurry", b"hangup", b"listening"
# To the keeper: here is the socket (with its descriptors); what ends the daemon; what was to be loaded is.
SOCKET, ENDS_WITH, SETTLED = "X_SOCKET", "X_ENDS_WITH", "X_SETTLED"
# And: the reports of crashes are read.
READ = "X_READ"

# How a process ends that can't serve, and would not if it was started again (EX_CONFIG of sysexits.h).
CANNOT_START = 78
# How one ends that is to be started again: its NPU is stuck (EX_TEMPFAIL).
REPLACE_ME = 75
# What argparse leaves with, and Python after an exception that nobody has expected: at the first start that is a fault
# which the second one would have as well.
USAGE, UNEXPECTED = 2, 1

_NUMBERS = ("keeper", "control", "journal", "stacks", "reader", "writer", "socket", "lock", "reports")


class Ties:
    """What there is between a keeper and a daemon; -1 where there is nothing."""

    # The keeper's process.
    keeper: int
    # The socketpair.
    control: int
    # The crash journal (journal.py), and what faulthandler writes to.
    journal: int
    stacks: int
    # The pipe for what C prints.
    reader: int
    writer: int
    # The socket and the lock that an earlier daemon has bound, and where that was (socket_file.py).
    socket: int
    lock: int
    place: str
    # How earlier daemons have crashed (report.py).
    reports: int

    __slots__ = (*_NUMBERS, "place")

    def __init__(self, *numbers: int, place: str = "") -> None:
        """Take one number for each name, or none for nothing. Raises ValueError for any other count."""
        for name, number in zip(_NUMBERS, numbers or (-1,) * len(_NUMBERS), strict=True):
            setattr(self, name, number)
        self.place = place

    @property
    def descriptors(self) -> list[int]:
        """Return the descriptors that there are."""
        return [number for number in self._numbers[1:] if number >= 0]

    @property
    def _numbers(self) -> list[int]:
        return [getattr(self, name) for name in _NUMBERS]

    def describe(self) -> str:
        """Return the value of the environment variable."""
        return ",".join([*map(str, self._numbers), self.place])

    @classmethod
    def parse(cls, text: str) -> Ties:
        """Return what ``describe`` has said. Raises ValueError for anything else."""
        *numbers, place = text.split(",", len(_NUMBERS))
        if not numbers:
            raise ValueError("there are no numbers")
        return cls(*map(int, numbers), place=place)


def take(environ: MutableMapping[str, str]) -> Ties | None:
    """Return what ties this process to a keeper, or None; children neither learn of it nor get the descriptors."""
    text = environ.pop(VARIABLE, "")
    if not text:
        return None
    ties = Ties.parse(text)
    for descriptor in ties.descriptors:
        os.set_inheritable(descriptor, False)
    return ties

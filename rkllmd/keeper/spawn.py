"""Starts a daemon: what ties it to its keeper, and the fork.

The first one is forked by the process that becomes the keeper, and goes on in it: its interpreter is there already, and
starts while the keeper's does. Those after a crash are programs of their own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import MutableMapping, Sequence

from rkllmd.keeper import journal, kills, ties
from rkllmd.keeper.ties import Ties

# Those that the keeper handles.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
# The daemon is what the kernel is to kill where memory is short: it comes back, and its keeper says why it went. The
# kernel adds the part of all memory that a process has, in thousandths. So the daemon, even before it has loaded
# anything, comes before whatever has nine tenths of the memory or less, browser tabs (300) with half of it included;
# only the process that tries a new file (1000, trials/child.py) comes before the daemon. Raising it takes no privilege.
_OOM_SCORE = 900
# The service manager's words are for the keeper alone.
_NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
FIRST_INHERITED = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START
# execve(2) has failed: what a shell says then.
_NO_PROGRAM = 127


class Child:
    """A daemon, as its keeper holds it: its process, and the keeper's ends of what ties it."""

    def __init__(self, pid: int, control: int, journal: int, stacks: int, reader: int) -> None:
        self.pid = pid
        self.control = socket.socket(fileno=control)
        self.control.setblocking(False)
        self.journal = journal
        self.stacks = stacks
        self.reader = reader
        # When this process has got it, and how often the kernel had killed for want of memory by then (kills.py).
        self.since = time.monotonic()
        self.kills = kills.count()
        # Whether its event loop has stood still.
        self.is_stuck = False
        # Until it has closed its end.
        self.is_heard = True
        os.set_blocking(reader, False)

    def close(self) -> None:
        """Close the keeper's ends."""
        self.control.close()
        for descriptor in (self.journal, self.stacks, self.reader):
            os.close(descriptor)


def fork(environ: MutableMapping[str, str], held: Ties) -> tuple[int, ...] | None:
    """Fork a daemon, which gets None, and in ``environ`` what ties it; return what a ``Child`` is made of.

    ``held`` is what the keeper has to give beside that. Raises OSError.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    its_journal = journal.make()
    stacks = os.memfd_create("rkllmd-stacks", os.MFD_CLOEXEC)
    reader, writer = os.pipe()
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        numbers = keeper, theirs.detach(), its_journal, stacks, reader, writer, held.socket, held.lock, held.reports
        _begin(environ, Ties(*numbers, place=held.place))
        return None
    os.close(writer)
    theirs.close()
    return pid, ours.detach(), its_journal, stacks, reader


def _begin(environ: MutableMapping[str, str], tied: Ties) -> None:
    """Be a daemon from now on, in the process that was forked for it."""
    # Ctrl-C at the terminal is for the keeper, which passes it on. Writing to the terminal from the background is what
    # SIGTTOU would forbid there.
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    with contextlib.suppress(OSError, ValueError):
        _raise_oom_score()
    for name in _NOT_INHERITED:
        environ.pop(name, None)
    if "LISTEN_PID" in environ:  # the keeper's; where it was meant for another process, the daemon sees that as well
        environ["LISTEN_PID"] = str(os.getpid()) if environ["LISTEN_PID"] == str(tied.keeper) else "0"
    environ[ties.VARIABLE] = tied.describe()


def _raise_oom_score() -> None:
    with open("/proc/self/oom_score_adj", "r+") as file:
        score = int(file.read())
        file.seek(0)
        file.write(str(max(score, _OOM_SCORE)))


def start(command: Sequence[str], environ: dict[str, str], held: Ties, *, ignores_hangup: bool) -> Child:
    """Start a daemon by its command. Raises OSError."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        its_environ = dict(environ)
        made = fork(its_environ, held)
        if made is None:
            _become(command, its_environ, ignores_hangup=ignores_hangup)
        assert made is not None
        return Child(*made)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _become(command: Sequence[str], environ: dict[str, str], *, ignores_hangup: bool) -> None:
    """Become the daemon's program; does not return."""
    try:
        if ignores_hangup:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        passed = Ties.parse(environ[ties.VARIABLE]).descriptors
        if environ.get("LISTEN_PID") == str(os.getpid()):
            passed += range(FIRST_INHERITED, FIRST_INHERITED + int(environ.get("LISTEN_FDS") or 0))
        for descriptor in passed:
            os.set_inheritable(descriptor, True)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(command[0], list(command), environ)
    finally:
        os._exit(_NO_PROGRAM)

"""``python -m rkllmd`` and the ``rkllmd`` command."""

from __future__ import annotations

import os
import signal
import socket
import sys

from rkllmd.keeper import entry


def main() -> None:
    """Run the command line and leave with its status."""
    _let_signals_through()
    _open_standard_descriptors()
    if entry.is_wanted(sys.argv[1:]):
        entry.divide()
    # What these take is no keeper's to load.
    from rkllmd import spared_imports

    spared_imports.spare()
    from rkllmd.cli.command import run

    sys.exit(run(sys.argv[1:]))


def _let_signals_through() -> None:
    """Unblock the signals that the parent had blocked: nothing but SIGKILL would end this process otherwise.

    An ignored SIGCHLD makes the kernel forget how a child process ended (wait(2)), so that is taken back too.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _open_standard_descriptors() -> None:
    """Open those of the descriptors 0 to 2 that are closed, so that they lead to nothing.

    Otherwise the next file or socket would get such a number, and what the runtimes print would go there.
    """
    while (descriptor := _open_nothing()) <= 2:
        pass
    os.close(descriptor)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:  # Python found the descriptor closed
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _open_nothing() -> int:
    """Return a descriptor that reads as an empty file, and loses what is written to it."""
    try:
        return os.open(os.devnull, os.O_RDWR)
    except OSError:  # a container or a chroot may have no /dev: use a socket whose other end is closed
        one, other = socket.socketpair()
        other.close()
        return one.detach()


if __name__ == "__main__":
    main()

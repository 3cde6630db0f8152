"""The process that daemons are forked from; ``forking.py`` starts it, with a socket as its standard input.

A request is the daemon's command line and environment as JSON, with the descriptors that are to be 0 to 2. The answer
is the daemon's process number. The process ends at the end of the connection.
"""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import signal
import socket
import sys
from typing import NoReturn, TypedDict

from rkllmd import __main__ as command
from rkllmd import daemon  # noqa: F401  what the daemon imports when it knows that it is to serve
from rkllmd.abi.c import this_process
from rkllmd.calls import registry
from rkllmd.cli import command as command_line  # noqa: F401  likewise
from rkllmd.machine import keeper_link  # noqa: F401  likewise
from tests.nursery import execution

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_REQUEST_BYTES = 1 << 20
_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


class Request(TypedDict):
    """What the daemon is to be started with."""

    arguments: list[str]
    environ: dict[str, str]


def main() -> NoReturn:
    """Fork until the connection ends; in each daemon, be it."""
    # Ctrl-C is for the daemons and the tests: the nursery ends with its connection.
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    registry.warm_up(registry.known())  # imports the methods' modules
    generators = [item for item in gc.get_objects() if isinstance(item, random.Random)]
    parent = os.getppid()
    gc.collect()
    gc.freeze()  # a collection in a daemon would copy all these pages
    with socket.socket(fileno=os.dup(0)) as connection:
        request, descriptors = _fork_until_wanted(connection)
        _inherit(parent)
        connection.send(str(os.getpid()).encode())
    signal.signal(signal.SIGINT, on_interrupt)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, max(descriptors) + 1)
    execution.begin(["rkllmd", *request["arguments"]], request["environ"], generators)
    execution.replace_execution(generators)
    execution.run(command.main)


def _fork_until_wanted(connection: socket.socket) -> tuple[Request, list[int]]:
    """Fork at each request; return in the daemon, with its descriptors."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, _REQUEST_BYTES, 3)
        if not message:
            sys.exit()
        gate, opener = os.pipe()
        # The daemon is a child of a child, which ends: so it becomes the child of the process that asks for it.
        if (child := os.fork()) == 0:
            try:
                is_daemon = os.fork() == 0
            except OSError:
                os._exit(1)
            if not is_daemon:
                os._exit(0)
            os.close(opener)
            os.read(gate, 1)  # the end of the file: the child has ended, or the nursery
            os.close(gate)
            return json.loads(message), descriptors
        os.close(gate)
        _, status = os.waitpid(child, 0)
        os.close(opener)
        for descriptor in descriptors:
            os.close(descriptor)
        if status:
            sys.exit("The nursery can't fork.")


def _inherit(parent: int) -> None:
    """Die with the test's process, and take from it what a process takes from its parent."""
    this_process().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    os.chdir(f"/proc/{parent}/cwd")
    with open(f"/proc/{parent}/status", "rb") as status:
        os.umask(next(int(line.split()[1], 8) for line in status if line.startswith(b"Umask:")))
    for limit in _LIMITS:
        resource.setrlimit(limit, resource.prlimit(parent, limit))


if __name__ == "__main__":
    main()

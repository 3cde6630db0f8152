"""A log that nobody reads stops nobody."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys

from tests.daemon import Start
from tests.wire_connection import kind

F_SETPIPE_SZ = 1031
# Becomes the command behind a descriptor's number, with its stderr there.
_DUP = "import os, sys; os.dup2(int(sys.argv[1]), 2); os.execvp(sys.argv[2], sys.argv[2:])"
LOGS_TO = (sys.executable, "-c", _DUP)


def test_a_log_that_nobody_reads_stops_nobody(start: Start) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    daemon = start("--log-level", "3", launcher=(*LOGS_TO, str(writer)), pass_fds=[writer])
    os.close(writer)
    try:
        for _ in range(300):  # two debug lines each, of more than a hundred bytes
            with daemon.connect() as wire:
                assert kind(wire.ask("server.queue")) is None
        assert daemon.stop() == 0, "it leaves in its time, with lines that nobody has read"
    finally:
        os.close(reader)


def test_what_waited_is_written_before_the_end(start: Start) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    daemon = start("--log-level", "3", launcher=(*LOGS_TO, str(writer)), pass_fds=[writer])
    os.close(writer)
    for _ in range(100):
        with daemon.connect() as wire:
            wire.ask("server.queue")
    with subprocess.Popen(["cat"], stdin=reader, stdout=subprocess.PIPE) as cat:
        os.close(reader)
        assert daemon.stop() == 0
        assert cat.stdout is not None
        assert b'"event":"stopped"' in cat.stdout.read()

"""What the process does before anything else: signals that the parent has blocked, descriptors that are closed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rkllmd import __main__
from tests.daemon import Start

# As a supervisor that leaves these two to its children.
BLOCKED = (
    "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)); "
    "signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
)


def test_closed_descriptors_where_there_is_no_dev_null(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(os, "open", missing)
    nothing = __main__._open_nothing()
    assert os.read(nothing, 1) == b""
    with pytest.raises(BrokenPipeError):
        os.write(nothing, b"lost")
    os.close(nothing)


def test_what_the_parent_blocked_or_ignored_is_taken_back(start: Start) -> None:
    daemon = start(launcher=(sys.executable, "-c", BLOCKED))
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    masks = {
        name: int(value, 16)
        for name, _, value in (line.partition(":\t") for line in lines)
        if name in ("SigBlk", "SigIgn")
    }
    assert masks["SigBlk"] == 0
    assert not masks["SigIgn"] & 1 << signal.SIGCHLD - 1, "the kernel would forget how a child process ended"
    assert daemon.stop() == 0, "SIGTERM ends it"


REPORT = """
import json, os, sys
from rkllmd.__main__ import _open_standard_descriptors
_open_standard_descriptors()
print("lost"); print("lost", file=sys.stderr)
opened = os.open("/", os.O_RDONLY)
leads = [os.readlink(f"/proc/self/fd/{n}") for n in range(3)]
os.write(int(sys.argv[1]), json.dumps([leads, sys.stdin.read(), opened > 2]).encode())
"""


def test_closed_descriptors_are_opened_to_nothing_so_that_no_file_gets_their_number() -> None:
    reader, writer = os.pipe()
    shell = 'exec "$0" "$@" <&- >&- 2>&-'
    subprocess.run(["sh", "-c", shell, sys.executable, "-c", REPORT, str(writer)], pass_fds=(writer,), check=True)
    os.close(writer)
    with open(reader, "rb") as report:
        assert json.loads(report.read()) == [[os.devnull] * 3, "", True]

"""How a daemon is started: what it is told, what it is not told, and what it inherits."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import pytest

from rkllmd.keeper import spawn, ties
from rkllmd.keeper.ties import Ties

REPORT = """
import json, os, signal, sys
from rkllmd.keeper.ties import Ties
tied = Ties.parse(os.environ["RKLLMD_KEEPER"])
score = int(open("/proc/self/oom_score_adj").read())
names = [name for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID") if name in os.environ]
os.write(tied.writer, json.dumps({
    "keeper": tied.keeper, "place": tied.place, "names": names, "listen_pid": os.environ.get("LISTEN_PID"),
    "pid": os.getpid(), "group": os.getpgid(0), "score": score,
    "open": [number for number in tied.descriptors if os.path.exists(f"/proc/self/fd/{number}")] == tied.descriptors,
    "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
    "hangup": signal.getsignal(signal.SIGHUP) == signal.SIG_IGN,
}).encode())
"""


def started(environ: dict[str, str], *command: str, ignores_hangup: bool = False) -> tuple[spawn.Child, int]:
    """Start a program as a daemon and wait for its end; return what its keeper holds, and its exit status."""
    child = spawn.start(
        command or (sys.executable, "-c", REPORT),
        {**os.environ, **environ},
        Ties(*[-1] * 9, place="1:2:/run/a.sock"),
        ignores_hangup=ignores_hangup,
    )
    _, status = os.waitpid(child.pid, 0)
    return child, os.waitstatus_to_exitcode(status)


def reported(environ: dict[str, str], *, ignores_hangup: bool = False) -> Any:
    child, status = started(environ, ignores_hangup=ignores_hangup)
    try:
        assert status == 0
        return json.loads(os.read(child.reader, 65_536))
    finally:
        child.close()


def test_a_daemon_knows_its_keeper_and_has_its_descriptors() -> None:
    told = reported({})
    assert (told["keeper"], told["place"], told["open"]) == (os.getpid(), "1:2:/run/a.sock", True)
    assert told["group"] == told["pid"], "Ctrl-C at the terminal is for the keeper"
    with open("/proc/self/oom_score_adj") as file:
        assert told["score"] == max(int(file.read()), 900), "it comes before what has nine tenths of the memory"
    assert told["blocked"] == []
    assert not set(spawn.SIGNALS) & set(signal.pthread_sigmask(signal.SIG_BLOCK, ())), "nor are they here any more"


def test_the_service_managers_words_are_for_the_keeper_alone() -> None:
    assert reported({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "7"})["names"] == []


@pytest.mark.parametrize("is_the_keepers", [True, False])
def test_sockets_that_were_passed_to_the_keeper_are_the_daemons(is_the_keepers: bool) -> None:
    told = reported({"LISTEN_PID": str(os.getpid() if is_the_keepers else 1), "LISTEN_FDS": "0"})
    assert told["listen_pid"] == (str(told["pid"]) if is_the_keepers else "0")


@pytest.mark.parametrize("ignores", [True, False])
def test_a_hangup_is_ignored_where_the_keeper_was_told_so(ignores: bool) -> None:
    assert reported({}, ignores_hangup=ignores)["hangup"] is ignores


def test_a_program_that_is_not_there_ends_as_in_a_shell() -> None:
    child, status = started({}, "/nowhere/rkllmd")
    child.close()
    assert status == 127


def test_the_environment_of_the_keeper_stays_as_it_was() -> None:
    environ = {"NOTIFY_SOCKET": "/n", "PATH": os.environ["PATH"]}
    child = spawn.start((sys.executable, "-c", ""), environ, Ties(), ignores_hangup=False)
    os.waitpid(child.pid, 0)
    child.close()
    assert environ.keys() == {"NOTIFY_SOCKET", "PATH"}
    assert ties.VARIABLE not in os.environ

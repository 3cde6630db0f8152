"""A forked daemon is what an executed one is, for the kernel too; and neither it nor the nursery is left behind."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.daemon import END_SECONDS, Daemon, Start
from tests.nursery import forking

# What is left to chance, to time or to memory, and what the nursery says of itself.
NOT_COMPARED = re.compile(
    r"(State|Pid|PPid|Tgid|NStgid|NSpid|NSpgid|Vm\w+|Rss\w+|HugetlbPages|.*ctxt_switches|Mems\w+|SigQ|StaticUsed|FDSize):"
)


def known_to_the_kernel(pid: int, keeper: int = 0) -> dict[str, object]:
    """Return what a process has from its start: identity, masks of signals, limits, folder, descriptors."""
    place = Path(f"/proc/{pid}")
    lines = (place / "status").read_text().splitlines()
    names = {str(pid): "itself", str(keeper): "its keeper"}
    # After the name, which may have blanks: the state, the parent, the process group, the session, the terminal.
    _, _, numbers = (place / "stat").read_text().rpartition(") ")
    links = [os.readlink(entry.path) for entry in os.scandir(place / "fd")]
    return {
        "status": [line for line in lines if not NOT_COMPARED.match(line)],
        "family": [names.get(number, number) for number in numbers.split()[1:5]],
        "limits": (place / "limits").read_text(),
        "folder": os.readlink(place / "cwd"),
        "root": os.readlink(place / "root"),
        "score": (place / "oom_score_adj").read_text(),
        "descriptors": Counter(re.sub(r"\d+|^.*/daemon", "", link) for link in links),
        "program": os.readlink(place / "exe"),
    }


def test_the_kernel_knows_no_difference(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    start().stop()  # whatever comes now is not from the nursery's start
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o027)
    try:
        forked, executed = start(), start(cold=True)
    finally:
        os.umask(before)
    assert isinstance(forked.process, forking.Forked)
    assert isinstance(executed.process, subprocess.Popen)
    with forked.connect() as one, executed.connect() as other:
        assert one.ask("rkllm.get_functions")["result"] == other.ask("rkllm.get_functions")["result"]
        assert known_to_the_kernel(forked.process.pid) == known_to_the_kernel(executed.process.pid)
    assert forked.stop() == executed.stop() == 0
    assert forked.process.stdout is not None
    assert forked.process.stdout.closed


def test_nor_does_it_of_a_keeper_and_of_the_daemons_that_it_starts(start: Start) -> None:
    start().stop()
    forked, executed = start(keeper=True), start(keeper=True, cold=True)
    assert isinstance(forked.process, forking.Forked)
    known: dict[Daemon, list[object]] = {}
    for daemon in (forked, executed):
        known[daemon] = []
        keeper = daemon.process.pid
        for _ in range(2):
            with daemon.connect() as wire:
                pid = wire.ask("server.status")["result"]["daemon_pid"]
                # With this client, whom they know.
                known[daemon] += [known_to_the_kernel(keeper), known_to_the_kernel(pid, keeper)]
                os.kill(pid, signal.SIGSEGV)
                assert wire.receive() is None
        with daemon.connect() as wire:
            last = wire.ask("server.status")["result"]
            known[daemon].append((last["last_crash"]["crashes"], last["last_crash"]["end"]))
        assert daemon.stop() == 0
    assert known[forked] == known[executed]


def test_how_it_ends_is_known(start: Start, tmp_path: Path) -> None:
    wrong, daemon = Daemon(tmp_path, "--no-such-option"), start()
    assert wrong.wait_end() == 2
    assert "--no-such-option" in wrong.log()
    wrong.stop()
    with pytest.raises(subprocess.TimeoutExpired):
        daemon.process.wait(0)
    assert daemon.process.poll() is None
    daemon.process.kill()
    assert daemon.wait_end() == daemon.process.poll() == daemon.process.returncode == -signal.SIGKILL
    daemon.process.terminate()  # nobody, whoever may have the number now
    with pytest.raises(ChildProcessError):
        os.waitpid(daemon.process.pid, os.WNOHANG)


@pytest.mark.parametrize("name", ["PYTHONPATH", "LD_PRELOAD", "LANGUAGE", "LISTEN_FDS", "COVERAGE_PROCESS_START"])
def test_what_acts_before_the_daemon_does_wants_a_cold_start(name: str) -> None:
    assert forking.find(os.environ) is not None
    assert forking.find({**os.environ, name: "1"}) is None


def test_a_nursery_that_has_died_is_replaced_and_its_daemons_live_on(start: Start) -> None:
    daemon, nursery = start(), forking.find(os.environ)
    assert nursery is not None
    nursery.process.kill()
    nursery.process.wait()
    assert isinstance(start().process, forking.Forked)
    assert daemon.process.poll() is None


KILLED = """
import os, sys, time
from pathlib import Path
from tests.daemon import Daemon
from tests.nursery import forking
with forking.allowed():
    daemon = Daemon(Path(sys.argv[1]))
    daemon.wait_ready()
    nursery = forking.find(os.environ)
    print(daemon.process.pid, nursery.process.pid, flush=True)
    time.sleep(1000)
"""


def test_nothing_is_left_of_tests_that_are_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        ends = [os.pidfd_open(int(pid)) for pid in tests.stdout.readline().split()]
        tests.kill()
    assert len(ends) == 2
    for end in ends:
        waiter = select.poll()
        waiter.register(end, select.POLLIN)
        assert waiter.poll(END_SECONDS * 1000), "it has ended"
        os.close(end)

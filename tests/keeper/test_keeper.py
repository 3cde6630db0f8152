"""The keeper as a process, with small scripted daemons; with the real one: tests/server/lifetime/test_keeper.py."""

from __future__ import annotations

import array
import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rkllmd.keeper import ties
from rkllmd.keeper.keeper import _is_stopped
from rkllmd.keeper.ties import CANNOT_START
from tests.daemon import END_SECONDS, SEEN_SECONDS, until
from tests.inherited_socket import SHIM
from tests.keeper.keeping import Kept, answer
from tests.processes import state_of
from tests.wire.lingering import Lingering, let_go

Keep = Callable[..., Kept]
SERVE = "bind; ready; settled; serve"


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Keep]:
    """Start keepers with scripts."""
    with ExitStack() as stack:

        def start(*script: str, **options: object) -> Kept:
            return stack.enter_context(Kept(tmp_path, *script, **options))  # type: ignore[arg-type]  # as they come

        yield start


@pytest.mark.parametrize("end", ["kill SIGSEGV", "kill SIGABRT", "kill SIGKILL", "exit 0", "exit 3"])
def test_a_daemon_that_has_ended_is_started_again(keep: Keep, end: str) -> None:
    kept = keep(f"bind; ready; settled; hold; {end}", SERVE)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SEEN_SECONDS)
        until("a socket", lambda: client.connect_ex(kept.path) == 0)  # its file is there before anybody listens
        kept.let_go()
        assert answer(client) == 2, "it waited for the next one"
    (event,) = kept.events("daemon_ended")
    assert event["end"] == end.removeprefix("kill ").replace("exit", "exit status")
    assert (event["pid"], event["crashes"]) == (kept.starts()[0], 1)
    assert kept.end() == 0


def test_twenty_clients_that_connect_while_there_is_none_are_served(keep: Keep) -> None:
    kept = keep("bind; ready; settled; kill SIGSEGV", f"hold; {SERVE}")
    kept.wait_starts(2)
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(20)]
        for client in clients:
            client.settimeout(SEEN_SECONDS)
            client.connect(kept.path)
        kept.let_go()
        assert [answer(client) for client in clients] == [2] * 20
    assert kept.end() == 0


def test_in_a_crash_loop_clients_are_told_so(keep: Keep) -> None:
    kept = keep("bind; kill SIGSEGV")
    until("a loop", lambda: len(kept.events("daemon_ended")) >= 5)
    error = kept.ask()["error"]
    assert error["data"]["kind"] == "Restarting"
    assert 0 < error["data"]["retry_after_ms"] <= 60_000
    assert error["data"]["crashes"] >= 5
    assert error["data"]["end"] == "SIGSEGV"
    assert kept.end() == 0
    assert not Path(kept.path).exists()


def test_one_who_has_gone_again_does_not_harm_the_others(keep: Keep) -> None:
    kept = keep("bind; kill SIGSEGV")
    until("a loop", lambda: len(kept.events("daemon_ended")) >= 5)
    for _ in range(100):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(kept.path)
            with contextlib.suppress(BrokenPipeError):
                client.send(b"x" * 10_000)
    assert kept.ask()["error"]["data"]["kind"] == "Restarting"
    assert kept.end() == 0


def _sent(client: socket.socket, path: str, number: int) -> bool:
    """Return whether a descriptor was sent before the answer was there, with which the connection is closed."""
    client.settimeout(SEEN_SECONDS)
    client.connect(path)
    try:
        client.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [number]))])
    except BrokenPipeError:
        return False
    return True


def test_one_whose_connection_can_not_be_closed_does_not_harm_the_others(keep: Keep) -> None:
    kept = keep("bind; kill SIGSEGV")
    until("a loop", lambda: len(kept.events("daemon_ended")) >= 5)
    with Lingering() as lingering, ExitStack() as clients:
        number = lingering.give()
        until("one is sent", lambda: _sent(clients.enter_context(socket.socket(socket.AF_UNIX)), kept.path, number))
        let_go(number)
        assert kept.ask()["error"]["data"]["kind"] == "Restarting"
        starts = len(kept.starts())
        until("another daemon", lambda: len(kept.starts()) > starts)
        kept.end()  # with the status of a daemon that crashes at this moment, or without one


@pytest.mark.parametrize(
    ("script", "status"), [("exit 78", 78), ("exit 2", 2), ("exit 3", 3), ("bind; exit 78", 78), ("bind; exit 2", 2)]
)
def test_one_that_cannot_start_is_not_started_again(keep: Keep, script: str, status: int) -> None:
    kept = keep(script)
    assert kept.process.wait(END_SECONDS) == status
    assert len(kept.starts()) == 1
    assert kept.log() == "", "the daemon has said why"
    assert not Path(kept.path).exists()


@pytest.mark.parametrize("script", ["exit 1", "bind; exit 1"])
def test_nor_is_one_that_nobody_has_expected_to_fail_and_somebody_says_so(keep: Keep, script: str) -> None:
    kept = keep(script)
    assert kept.process.wait(END_SECONDS) == 1
    assert len(kept.starts()) == 1
    assert len(kept.events("daemon_cannot_start")) == 1
    assert not Path(kept.path).exists()


def test_one_that_cannot_start_any_more_is_not_either_and_nobody_is_left_waiting(keep: Keep) -> None:
    """Somebody has edited the configuration meanwhile."""
    kept = keep("bind; ready; settled; kill SIGSEGV", f"hold; exit {CANNOT_START}")
    kept.wait_starts(2)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SEEN_SECONDS)
        client.connect(kept.path)
        kept.let_go()
        error = answer(client)["error"]
    assert (error["data"]["kind"], error["data"]["retry_after_ms"]) == ("Restarting", None)
    assert kept.process.wait(END_SECONDS) == CANNOT_START
    assert kept.events("daemon_cannot_start")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_and_the_second_one_hurries(keep: Keep, number: int) -> None:
    kept = keep(SERVE)
    assert kept.ask() == 1
    assert kept.end(number) == 0
    assert kept.words() == ["stop"]
    assert not Path(kept.path).exists()
    assert not Path(f"{kept.path}.lock").exists()


def test_a_hangup_is_for_the_daemon_to_know(keep: Keep) -> None:
    kept = keep(SERVE)
    assert kept.ask() == 1
    kept.process.send_signal(signal.SIGHUP)
    until("the word", lambda: kept.words() == ["hangup"])
    assert kept.end() == 0


@pytest.mark.parametrize("what", ["terminal", "parent"])
def test_unless_it_ends_both(keep: Keep, what: str) -> None:
    kept = keep(f"bind; tell X_ENDS_WITH={what}; {SERVE}")
    assert kept.ask() == 1
    assert kept.end(signal.SIGHUP) == 0
    assert kept.words() == ["stop"]


def test_the_end_of_the_parent_ends_both(keep: Keep) -> None:
    program = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    kept = keep(f"bind; tell X_ENDS_WITH=parent; {SERVE}", launcher=(sys.executable, "-c", program))
    assert kept.ask() == 1
    kept.process.kill()
    until("the word", lambda: kept.words() == ["stop"])
    until("the socket is gone", lambda: not Path(kept.path).exists())


def test_told_to_leave_before_it_serves_it_leaves(keep: Keep) -> None:
    kept = keep("bind; print bound\\n; hold; exit 1")  # the keeper has the socket only when bind has ended
    until("a socket", lambda: "bound" in kept.log())
    assert kept.end() == 0
    assert not Path(kept.path).exists()


def test_told_to_leave_while_there_is_none_it_leaves(keep: Keep) -> None:
    kept = keep("bind; kill SIGSEGV")
    until("a loop", lambda: len(kept.events("daemon_ended")) >= 5)
    assert kept.end() == 0
    assert not Path(kept.path).exists()


@pytest.mark.parametrize(("script", "end"), [("still", "SIGABRT"), ("stubborn", "SIGKILL")])
def test_a_loop_that_stands_still_is_replaced(keep: Keep, script: str, end: str) -> None:
    kept = keep(f"bind; settled; {script}", SERVE)
    assert kept.ask() == 2
    assert kept.events("daemon_stuck")
    assert [event["end"] for event in kept.events("daemon_ended")] == [end]
    assert kept.end() == 0


def test_one_that_somebody_has_stopped_is_known() -> None:
    """With a debugger, say: it is not stuck."""
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        assert not _is_stopped(process.pid)
        process.send_signal(signal.SIGSTOP)
        until("it is stopped", lambda: _is_stopped(process.pid))
        process.kill()
    assert not _is_stopped(process.pid)


def test_what_it_printed_last_and_its_stacks_are_in_the_log(keep: Keep) -> None:
    script = r"stacks Fatal Python error: Aborted\n\nCurrent thread; kill SIGSEGV"
    kept = keep(f"bind; ready; settled; print the last words; {script}", SERVE)
    assert kept.ask() == 2
    assert "the last words\nFatal Python error: Aborted\n\nCurrent thread" in kept.log()
    assert [event["end"] for event in kept.events("daemon_ended")] == ["SIGABRT"], "the second came of the stacks"
    assert kept.end() == 0


def test_a_child_of_the_daemon_does_not_outlive_it(keep: Keep, tmp_path: Path) -> None:
    """What a library has started may hold the NPU as well."""
    kept = keep("bind; ready; settled; straggle; kill SIGSEGV", SERVE)
    assert kept.ask() == 2
    straggler = int((tmp_path / "straggler").read_text())
    until("it is gone", lambda: state_of(Path(f"/proc/{straggler}")) in ("", "Z"))
    assert kept.end() == 0


def test_the_daemon_is_killed_before_the_keeper_where_memory_is_short(keep: Keep) -> None:
    kept = keep(SERVE)
    assert kept.ask() == 1
    scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (kept.process.pid, kept.starts()[0])]
    assert scores[1] == max(scores[0], 900)
    assert kept.end() == 0


# --------------------------------------------------------------------------------------------------------------------
# The service manager


def test_what_the_daemon_says_is_passed_on_and_more_is_said(keep: Keep, manager: socket.socket) -> None:
    kept = keep(
        "bind; ready; tell RELOADING=1\nMONOTONIC_USEC=5; tell EXTEND_TIMEOUT_USEC=9; settled; kill SIGSEGV".replace(
            "\n", "\\n"
        ),
        SERVE,
        environ={"NOTIFY_SOCKET": manager.getsockname()},
    )
    assert manager.recv(4096) == b"READY=1\nSTATUS=serving"
    assert manager.recv(4096) == b"RELOADING=1\nMONOTONIC_USEC=5"
    assert manager.recv(4096) == b"EXTEND_TIMEOUT_USEC=9"
    assert b"SIGSEGV" in manager.recv(4096)
    assert manager.recv(4096) == b"READY=1\nSTATUS=serving"
    assert kept.end() == 0
    assert manager.recv(4096) == b"STOPPING=1"


def test_a_signal_after_the_daemon_has_begun_to_leave_does_not_hurry_it(keep: Keep, manager: socket.socket) -> None:
    """As with KillMode=control-group, where both get it: the daemon may have said so before the keeper has its own."""
    kept = keep("bind; ready; tell STOPPING=1; serve", environ={"NOTIFY_SOCKET": manager.getsockname()})
    while manager.recv(4096) != b"STOPPING=1":
        pass
    assert kept.end() == 0
    assert kept.words() == [ties.STOP.decode()]


def test_the_watchdog_is_fed_while_the_loop_turns(keep: Keep, manager: socket.socket) -> None:
    kept = keep(SERVE, environ={"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "200000"})
    for _ in range(20):
        while manager.recv(4096) != b"WATCHDOG=1":
            pass
    assert kept.end() == 0


def test_the_watchdog_is_not_fed_for_a_daemon_that_is_stuck(keep: Keep, manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "200000"}
    kept = keep("bind; settled; still", SERVE, environ=environ)
    received: list[bytes] = []
    while not received or not received[-1].startswith(b"STATUS=The daemon (pid"):
        received.append(manager.recv(4096))
    after: list[bytes] = []
    while not after or b"SIGABRT" not in after[-1]:
        after.append(manager.recv(4096))
    assert b"WATCHDOG=1" in received
    assert b"WATCHDOG=1" not in after
    assert kept.end() == 0


def test_a_socket_that_was_passed_on_goes_from_one_daemon_to_the_next(keep: Keep, tmp_path: Path) -> None:
    path = str(tmp_path / "rkllm.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        kept = keep(
            "inherit; ready; settled; kill SIGSEGV",
            "inherit; ready; settled; serve",
            launcher=(sys.executable, "-c", SHIM, str(listening.fileno())),
            pass_fds=(listening.fileno(),),
        )
        kept.wait_starts(2)
        assert kept.ask() == 2
        assert kept.end() == 0
        assert Path(path).is_socket(), "it is not the keeper's to remove"

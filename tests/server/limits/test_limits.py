"""Every bound says what it is, and gives way as soon as there is room again."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import ENDLESS, Daemon, Start, until
from tests.wire_connection import ANSWER_SECONDS, Wire, kind


def test_one_connection_too_many_is_refused_and_the_others_live_on(start: Start) -> None:
    daemon = start("--max-connections", "3", "--log-level", "3")
    with contextlib.ExitStack() as stack:
        first, *_, last = (_answering(stack, daemon) for _ in range(3))
        with daemon.connect() as refused:
            error = refused.receive()
            assert (error["id"], kind(error), error["error"]["code"]) == (None, "QueueFull", -32001)
            data = error["error"]["data"]
            assert (data["queued"], data["limit"], data["retry_after_ms"] > 0) == (3, 3, True)
            assert refused.receive() is None, "then it is closed"
        assert kind(first.ask("server.queue")) is None, "those before live on"
        last.socket.close()
        daemon.wait_event("client_gone")
        with daemon.connect() as next_one:
            assert kind(next_one.ask("server.queue")) is None, "a place that became free is usable"


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process open as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_thousand_connections_are_all_served(start: Start) -> None:
    daemon = start("--max-connections", "1001", "--log-level", "3")
    files, _ = daemon.settled()
    gone = len(daemon.events("client_gone"))
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(daemon.connect()) for _ in range(1000)]
        for number, wire in enumerate(wires):
            wire.request("server.status", None, number)
        assert all(kind(wire.final(number)) is None for number, wire in enumerate(wires))
        assert wires[-1].ask("server.status")["result"]["clients"] == 1000
        for number, wire in enumerate(wires):
            wire.request("server.queue", None, number)
        assert all(kind(wire.final(number)) is None for number, wire in enumerate(wires))
    daemon.wait_event("client_gone", gone + 1000)
    until("all descriptors are closed", lambda: daemon.open_files() == files)


def test_a_full_queue_says_how_full_it_is(start: Start) -> None:
    daemon = start("--max-queue", "3", scenario=ENDLESS)
    daemon.load(max_new_tokens=0)
    with daemon.connect() as running, daemon.connect() as waiting, daemon.connect() as refused:
        running.request("rkllm.run_async", {"prompt_input": "running"}, 0)
        assert running.receive()["result"]["seq"] == 0
        for number in range(3):
            waiting.request("rkllm.run_async", {"prompt_input": "waiting"}, number)
        assert waiting.ask("server.queue", None, "queue")["result"]["length"] == 3
        error = refused.ask("rkllm.run", {"prompt_input": "refused"})
        assert (kind(error), error["error"]["code"]) == ("QueueFull", -32001)
        data = error["error"]["data"]
        assert (data["queued"], data["limit"], data["retry_after_ms"] > 0) == (3, 3, True)
        assert waiting.ask("server.cancel", {"id": 2}, "cancel")["result"] == {"cancelled": True}
        refused.request("rkllm.run", {"prompt_input": "now there is room"}, 2)
        assert refused.ask("server.queue", None, "queue")["result"]["length"] == 3
    daemon.wait_finished()


def test_one_connection_may_not_fill_the_queue(start: Start) -> None:
    daemon = start("--max-calls-per-connection", "2", scenario=ENDLESS)
    daemon.load(max_new_tokens=0)
    with daemon.connect() as greedy, daemon.connect() as modest:
        for number in range(4):
            greedy.request("rkllm.run_async", {"prompt_input": "mine"}, number)
        error = greedy.final(3)  # one runs, two wait
        assert kind(error) == "QueueFull"
        assert (error["error"]["data"]["queued"], error["error"]["data"]["limit"]) == (2, 2)
        modest.request("rkllm.run_async", {"prompt_input": "yours"}, 0)
        assert modest.ask("server.queue", None, "queue")["result"]["length"] == 3, "others still may"


def test_running_out_of_descriptors_is_survived(start: Start) -> None:
    limit = 48  # more than twice what the daemon itself needs: those that wait find room when the others leave
    shim = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit})); "
    launcher = (sys.executable, "-c", shim + "os.execv(sys.argv[1], sys.argv[1:])")
    daemon = start(launcher=launcher)
    files, _ = daemon.settled()
    with contextlib.ExitStack() as stack:
        first = _answering(stack, daemon)
        wires = [stack.enter_context(daemon.connect()) for _ in range(limit)]
        for wire in wires:
            wire.request("server.queue")
        event = daemon.wait_event("accept_failed")[0]
        assert "LimitNOFILE" in event["reason"]
        assert kind(first.ask("server.queue")) is None, "those that are connected are served"
        assert daemon.open_files() == limit
        answered: list[Wire] = []

        def all_are_answered() -> bool:
            answered.extend(wire for wire in wires if wire not in answered and daemon_has_answered(wire))
            return len(answered) == limit - files - 1

        until("the answers to those that are accepted", all_are_answered)
        # All leave at once: each place that becomes free alone would be the end of a shortage, and then comes another.
        daemon.process.send_signal(signal.SIGSTOP)
        for wire in answered:
            wire.socket.close()
        waiting = [wire for wire in wires if wire not in answered]
        daemon.process.send_signal(signal.SIGCONT)
        assert waiting, "some could not be accepted"
        for wire in waiting:
            assert kind(wire.final(1)) is None, "they are as soon as there is room"
    assert len(daemon.events("accept_failed")) <= 3, "one line for a shortage, not ten a second"


def test_clients_that_send_and_leave_keep_nobody_out(start: Start) -> None:
    """The daemon sees them all at once; each of them is there only until it was read."""
    daemon = start("--max-connections", "100", "--max-calls-per-user", "1000")
    daemon.load()
    daemon.process.send_signal(signal.SIGSTOP)
    for number in range(150):
        with daemon.connect() as wire:
            wire.request("server.queue" if number % 2 else "rkllm.run", None if number % 2 else {"prompt": "x"})
    with daemon.connect() as wire:
        wire.request("server.queue")
        daemon.process.send_signal(signal.SIGCONT)
        assert kind(wire.receive()) is None
    assert daemon.events("too_many_connections") == []


@contextlib.contextmanager
def few_files(start: Start, limit: int, *arguments: str) -> Iterator[Daemon]:
    shim = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit})); "
    yield start(*arguments, launcher=(sys.executable, "-c", shim + "os.execv(sys.argv[1], sys.argv[1:])"))


def fill(daemon: Daemon, stack: contextlib.ExitStack, limit: int) -> list[Wire]:
    """Connect until the daemon has no descriptor left; return the connections that are answered."""
    wires = []
    while daemon.open_files() < limit:
        wires.append(_answering(stack, daemon))
    return wires


def test_who_needs_a_file_when_there_is_none_is_told_so(start: Start, tmp_path: Path) -> None:
    limit = 48
    model = tmp_path / "other.rkllm"
    model.touch()
    with few_files(start, limit) as daemon, contextlib.ExitStack() as stack:
        daemon.load()
        vision = tmp_path / "model.rknn"
        vision.touch()
        maker = stack.enter_context(daemon.connect())
        assert kind(maker.ask("rknn.init", {"model_path": str(vision)})) is None
        wires = fill(daemon, stack, limit)
        for error in (
            maker.ask("rkllm.load_lora", {"lora_adapter_path": str(model)}, "lora"),
            maker.ask("rknn.infer", {"inputs": "A" * 64}, "infer", reply_fds=True),
        ):
            assert kind(error) == "QueueFull", error
            assert f"as many files open as it may ({limit})" in error["error"]["message"]
            assert error["error"]["data"]["limit"] == limit
        wires[0].socket.close()
        until("a descriptor that is free", lambda: daemon.open_files() < limit)
        assert kind(maker.ask("rkllm.load_lora", {"lora_adapter_path": str(model)}, "again")) is None


def test_descriptors_that_cannot_be_taken_are_not_called_too_many(start: Start) -> None:
    limit = 48
    with few_files(start, limit) as daemon, contextlib.ExitStack() as stack:
        sender = stack.enter_context(daemon.connect())
        sender.ask("server.queue")
        fill(daemon, stack, limit)
        line = b'{"jsonrpc":"2.0","id":1,"method":"server.queue","fds":2}\n'
        with open("/dev/null", "rb") as one, open("/dev/null", "rb") as two:
            socket.send_fds(sender.socket, [line], [one.fileno(), two.fileno()])
        detail = sender.receive()["error"]["data"]["detail"]
        assert f"as many files open as it may ({limit})" in detail


def test_a_socket_whose_file_was_removed_is_there_again(start: Start) -> None:
    daemon = start()
    with daemon.connect() as before:
        Path(daemon.path).unlink()
        daemon.wait_event("socket_bound_again")
        with daemon.connect() as after:
            assert kind(after.ask("server.queue")) is None
        assert kind(before.ask("server.queue")) is None, "who was connected stays so"


def daemon_has_answered(wire: Wire) -> bool:
    """Return whether an answer has arrived: the daemon answers in the order of accepting, and a later one has its."""
    wire.socket.setblocking(False)
    try:
        return wire.receive() is not None
    except BlockingIOError:
        return False
    finally:
        wire.socket.settimeout(ANSWER_SECONDS)


def test_sighup_takes_new_settings_over(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "rkllmd.toml"
    file.write_text("log_level = 2\nmax_connections = 10\n")
    daemon = start("--config", str(file))
    with contextlib.ExitStack() as stack:
        _answering(stack, daemon)
        assert daemon.events("client_connected") == []
        file.write_text("log_level = 3\nmax_connections = 1\nmax_queue = 1\n")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_event("reloaded")
        with daemon.connect() as refused:
            assert kind(refused.receive()) == "QueueFull"
    daemon.wait_event("client_gone")  # of a client that was there before: its log follows the new level too


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("max_connections = 0\n", "max_connections"),
        ("max_conections = 5\n", "max_conections"),
        ("max_connections = \n", "not valid TOML"),
        ("max_connections = " + "[" * 5000, "nested too deep"),
        (None, "can't be read"),
    ],
    ids=["out of range", "misspelt", "no TOML", "too deep", "no file"],
)
def test_a_wrong_reload_keeps_the_old_settings_and_says_so(
    start: Start, tmp_path: Path, text: str | None, reason: str
) -> None:
    file = tmp_path / "rkllmd.toml"
    file.write_text("max_connections = 1\n")
    daemon = start("--config", str(file))
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    daemon.process.send_signal(signal.SIGHUP)
    event = daemon.wait_event("reload_failed")[0]
    assert reason in event["reason"]
    assert event["level"] == "error"
    with contextlib.ExitStack() as stack:
        _answering(stack, daemon)
        with daemon.connect() as refused:
            assert kind(refused.receive()) == "QueueFull", "the old limit holds"


def test_a_new_queue_limit_holds_for_the_next_call(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "rkllmd.toml"
    file.write_text("")
    daemon = start("--config", str(file), scenario=ENDLESS)
    daemon.load(max_new_tokens=0)
    with daemon.connect() as wire:
        for number in range(3):
            wire.request("rkllm.run_async", {"prompt_input": "Hello"}, number)
        assert wire.ask("server.queue", None, "queue")["result"]["length"] == 2
        file.write_text("max_queue = 2\n")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_event("reloaded")
        error = wire.ask("rkllm.run", {"prompt_input": "Hello"}, "refused")
        assert (kind(error), error["error"]["data"]["limit"]) == ("QueueFull", 2)
        assert wire.ask("server.queue", None, "queue")["result"]["length"] == 2, "those that wait stay"


def _answering(stack: contextlib.ExitStack, daemon: Daemon) -> Wire:
    """Return a connection that the daemon has accepted."""
    wire = stack.enter_context(daemon.connect())
    assert kind(wire.ask("server.queue")) is None
    return wire

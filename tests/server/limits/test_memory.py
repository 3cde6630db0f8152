"""Whatever one user's clients send, or do not read: the daemon's memory is bounded, and others are served."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.daemon import ENDLESS, Daemon, Start, until
from tests.wire_connection import Wire, kind

MIB = 1 << 20
# One user gets half of it.
BUDGET = 32 * MIB
# What the daemon takes beside it: threads' stacks and arenas, one line that is parsed, the answers to all of this.
BESIDE = 32 * MIB


@pytest.fixture(scope="module")
def serving(start_for_module: Start) -> Daemon:
    daemon = start_for_module("--request-memory-bytes", str(BUDGET), scenario=ENDLESS, cold=True)
    daemon.load(max_new_tokens=0, max_context_len=8192)
    return daemon


@pytest.fixture
def bounded(serving: Daemon) -> Iterator[None]:
    """Check that the daemon's memory stays where it should."""
    with serving.connect() as wire:
        before = wire.ask("server.status")["result"]["memory"]["daemon_resident_bytes"]
        yield
        assert serving.memory_peak() < max(before, 0) + BUDGET // 2 + BESIDE
        assert kind(wire.ask("server.queue")) is None


def line(call_id: int, params: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"method":"rkllm.run","params":%b}\n' % (call_id, params)


def until_id(wire: Wire, call_id: str) -> list[Any]:
    """Return the messages before the one with this id."""
    messages = []
    while (message := wire.receive())["id"] != call_id:
        messages.append(message)
    return messages


def kinds(wires: list[Wire]) -> list[tuple[Any, str | None]]:
    return [(answer["id"], kind(answer)) for answer in (wire.receive() for wire in wires)]


@pytest.mark.usefixtures("bounded")
def test_ten_lines_full_of_arrays(serving: Daemon) -> None:
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(serving.connect()) for _ in range(10)]
        attack = line(1, b"[" + b"[]," * (3 * MIB // 3) + b"[]]")
        for wire in wires:
            wire.send(attack)
        assert {found for _, found in kinds(wires)} <= {"FrameTooLarge", "QueueFull"}
        assert kind(wires[0].ask("server.queue", None, 2)) is None, "the connection goes on"


@pytest.mark.usefixtures("bounded")
def test_lines_that_never_end(serving: Daemon) -> None:
    """Nobody waits for them: who comes last is refused, and the next one is served when they have gone."""
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(serving.connect()) for _ in range(12)]
        for wire in wires:
            wire.send(line(1, b'{"prompt":"' + b"x" * (2 * MIB))[:-2])
        serving.wait_event("line_refused", 5)
        for wire in wires:
            wire.socket.close()
    with serving.connect() as wire:
        until(
            "room",
            lambda: wire.ask("server.queue", {"x": "y" * (2 * MIB)})["error"]["data"]["kind"] == "InvalidParams",
        )


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("is_job", [False, True])
def test_long_prompts_that_wait(serving: Daemon, is_job: bool) -> None:
    with serving.connect() as running, serving.connect() as wire:
        running.request("rkllm.run_async", {"prompt": "x", "stream": "final"}, "run")
        until("it runs", lambda: wire.ask("server.status")["result"]["state"] == "running")
        params: dict[str, Any] = {"prompt": "x" * MIB}
        answers = []
        for number in range(20):
            if is_job:
                answers.append(wire.ask("server.submit", {"method": "rkllm.run", "params": params}, number))
            else:
                wire.request("rkllm.run", params, number)
        if not is_job:
            wire.request("server.queue", None, "queue")
            answers = until_id(wire, "queue")
        refused = [answer for answer in answers if kind(answer) == "QueueFull"]
        assert 8 <= len(refused) <= 15
        assert "request_memory_bytes" in json.dumps(refused)
        assert all(answer["error"]["data"]["retry_after_ms"] for answer in refused)
        for answer in answers:
            if is_job and "result" in answer:
                wire.ask("server.cancel", {"job": answer["result"]["job"]}, "cancel")
        if not is_job:
            taken = {*range(20)} - {answer["id"] for answer in refused}
            for number in taken:
                wire.ask("server.cancel", {"id": number}, "cancel")
        wire.request("rkllm.run", params, "next")
        assert wire.ask("server.queue", None, "queue")["result"]["length"] == 1, "there is room again"
        running.request("rkllm.abort", {}, "abort")
        running.final("run")


def test_answers_that_nobody_reads(start: Start) -> None:
    """Each connection has less than it may; all of one user's together would have too much."""
    daemon = start("--request-memory-bytes", str(2 * MIB))
    with contextlib.ExitStack() as stack:
        for _ in range(12):
            wire = stack.enter_context(daemon.connect())
            for number in range(40):
                wire.request("rpc.discover", None, number)
        dropped = daemon.wait_event("outboxes_full")
        assert dropped[0]["unread_bytes"] < MIB
    assert daemon.events("slow_reader") == []

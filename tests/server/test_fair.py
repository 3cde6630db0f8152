"""Sharing the NPU between clients: turns, priorities, waits that are told."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon import Daemon, Wire, kind

SLOW = {"text": "x ", "repeat": 1, "tokens": "words"}


def held(daemon: Daemon, wire: Wire) -> None:
    """Let a run of ``wire`` have the NPU until it is cancelled."""
    runs = daemon.calls("rkllm_run")
    wire.request("rkllm.run", {"prompt": "hold"}, "held")
    daemon.wait_enter("rkllm_run", runs + 1)


def test_nine_clients_wait_for_one_round_while_the_tenth_pipelines_a_thousand(start: Callable[..., Daemon]) -> None:
    limits = ("--max-queue", "2000", "--max-calls-per-connection", "2000", "--max-calls-per-user", "2000")
    slow = {**SLOW, "pace_us": 10_000}
    daemon = start(*limits, "--run-async-calls", "rkllm_run", scenario={**slow, "repeat": 6000}, changing=True)
    daemon.load(max_new_tokens=0)
    with contextlib.ExitStack() as stack:
        holder, busy, looker, *others = [stack.enter_context(daemon.connect()) for _ in range(12)]
        held(daemon, holder)
        daemon.play(**slow)  # those that begin from now on have one token
        for number in range(1000):
            busy.request("rkllm.run", {"prompt": "busy"}, number)
        for other in others:
            other.request("rkllm.run", {"prompt": "other"}, 1)
        while looker.ask("server.status")["result"]["queue_length"] < 1009:
            pass
        holder.ask("server.cancel", {"id": "held"})
        for other in others:
            assert "result" in other.final(1)
        served = 1000 - looker.ask("server.status")["result"]["queue_length"]
        # Its own turn of the round, the one after it, and what began while we asked.
        assert served <= 5


def test_the_waits_are_told_within_thirty_percent(start: Callable[..., Daemon]) -> None:
    daemon = start("--run-async-calls", "rkllm_run", scenario={**SLOW, "pace_us": 20_000, "repeat": 10})
    daemon.load()
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(daemon.connect()) for _ in range(5)]
        for _ in range(2):
            wires[0].ask("rkllm.run", {"prompt": "learn"})
        for wire in wires:
            wire.request("rkllm.run", {"prompt": "wait"}, 7)
        asked = time.monotonic()
        with daemon.connect() as looker:
            told = [entry["estimated_wait_ms"] for entry in looker.ask("server.queue")["result"]["queue"]]
        assert len(told) == 4
        for wire in wires[:-1]:
            wire.final(7)
        really = (time.monotonic() - asked) * 1000
        assert told[-1] == pytest.approx(really, rel=0.3)
        assert told == sorted(told)


def test_what_was_learned_survives_a_restart(start: Callable[..., Daemon], tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    for _ in range(2):
        daemon = start("--state-directory", str(state), scenario={**SLOW, "pace_us": 5000, "repeat": 20})
        with daemon.connect() as wire:
            daemon.load()
            known = (state / "history.json").exists()
            held(daemon, wire)
            wire.request("rkllm.run", {"prompt": "waits"}, 2)
            with daemon.connect() as looker:
                (entry,) = looker.ask("server.queue")["result"]["queue"]
            # The model's file is another one in each daemon's directory: the method's mean is taken.
            assert (entry["estimated_wait_ms"] is not None) == known
            wire.final("held")
            wire.final(2)
        daemon.stop()
    assert (state / "history.json").read_bytes().count(b"rkllm.run ") == 2


def test_priorities(start: Callable[..., Daemon]) -> None:
    daemon = start(
        *("--priority-users", str(os.getuid()), "--run-async-calls", "rkllm_run"),
        scenario={**SLOW, "pace_us": 50_000, "repeat": 4},
    )
    daemon.load()
    with daemon.connect() as wire:
        held(daemon, wire)
        for priority in ("low", "normal", "high"):
            wire.request("rkllm.run", {"prompt": priority}, priority, priority=priority)
        with daemon.connect() as looker:
            queue = looker.ask("server.queue")["result"]["queue"]
        assert [entry["priority"] for entry in queue] == ["high", "normal", "low"]
        answered: list[str] = []
        while len(answered) < 4:
            answered.append(wire.receive()["id"])
        assert answered == ["held", "high", "normal", "low"]


def test_high_priority_is_for_those_who_are_trusted(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.load()
    with daemon.connect() as wire:
        assert kind(wire.ask("rkllm.run", {"prompt": "x"}, priority="high")) == "PermissionDenied"
        assert kind(wire.ask("rkllm.run", {"prompt": "x"}, priority="urgent")) == "InvalidParams"
        assert "result" in wire.ask("rkllm.run", {"prompt": "x"}, priority="low")


def test_a_full_queue_says_when_to_come_back(start: Callable[..., Daemon]) -> None:
    daemon = start("--max-calls-per-user", "1", scenario={**SLOW, "pace_us": 20_000, "repeat": 10})
    daemon.load()
    with daemon.connect() as wire, daemon.connect() as other:
        wire.ask("rkllm.run", {"prompt": "learn"})
        held(daemon, wire)
        wire.request("rkllm.run", {"prompt": "waits"}, 2)
        other.ask("server.status")
        refused = other.ask("rkllm.run", {"prompt": "x"})
        assert kind(refused) == "QueueFull"
        assert "This user" in refused["error"]["message"]
        assert 0 < refused["error"]["data"]["retry_after_ms"] < 500
        wire.final(2)

"""What is known after a crash: which call on what for whom, what C printed last, and where it was."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import ENDLESS, Daemon
from tests.rknn.board import client, operator_library
from tests.rknn.functions.operators import SCALED
from tests.wire_connection import Wire

Start = Callable[..., Daemon]


def last_crash(daemon: Daemon) -> Any:
    with daemon.connect() as wire:
        return wire.ask("server.status")["result"]["last_crash"]


def ends(wire: Wire) -> None:
    """Wait for the end of the connection, which nobody answers."""
    assert all("error" not in message for message in wire.receive_all())


def test_a_crash_is_known_with_its_call_and_its_last_lines(start: Start, tmp_path: Path) -> None:
    ticket = tmp_path / "ticket"
    ticket.touch()
    scenario = (
        f"text=Hello;run=segfault@1;fault_ticket={ticket};print.stderr=E rkllm: the last words;print_at=rkllm_run"
    )
    daemon = start(keeper=True, scenario=scenario)
    handle = daemon.load()
    assert last_crash(daemon) is None
    with daemon.connect() as wire:
        wire.request("rkllm.run", {"prompt": "Hello"}, "my id")
        ends(wire)
    crash = last_crash(daemon)
    call = crash.pop("call")
    assert call.pop("elapsed_ms") >= 0
    assert call == {
        "method": "rkllm.run",
        "function": "rkllm_run",
        "handle": handle,
        "name": None,
        "model_path": str(daemon.model),
        "pid": os.getpid(),
        "uid": os.getuid(),
        "request": "my id",
        "job": None,
        "runs": 1,
        "thread": "npu",
    }
    assert crash["lines"][-1] == "E rkllm: the last words"
    assert "Current thread" in crash["stacks"]
    assert "in _call" in crash["stacks"]
    assert (crash["end"], crash["signal"], crash["exit_status"]) == ("SIGSEGV", "SIGSEGV", None)
    assert (crash["beside"], crash["crashes"], crash["stuck"], crash["out_of_memory"]) == ([], 1, False, False)
    assert crash["uptime_s"] > 0
    (event,) = daemon.events("crashed")
    assert event["call"]["function"] == "rkllm_run"
    with daemon.connect() as wire:
        assert wire.ask("server.watch", {"events": ["crashed"]})["result"] == {"watching": ["crashed"]}
        told = wire.receive()["params"]
        assert (told["event"], told["crash"]["call"]["request"]) == ("crashed", "my id")
        families = {item["name"]: item["samples"] for item in wire.ask("server.metrics")["result"]["families"]}
        assert families["rkllmd_crashes"] == [{"labels": {}, "value": 1}]


def test_a_crash_in_an_abort_names_the_run_that_it_was_to_end(start: Start, tmp_path: Path) -> None:
    ticket = tmp_path / "ticket"
    ticket.touch()
    daemon = start(keeper=True, scenario=f"{ENDLESS};fault.rkllm_abort=segfault;fault_ticket={ticket}")
    handle = daemon.load(max_new_tokens=0)
    with daemon.connect() as runner, daemon.connect() as other:
        runner.request("rkllm.run_async", {"prompt": "Hi"}, "run")
        assert "result" in (runner.receive() or {})
        other.request("rkllm.abort", None, "abort")
        ends(other)
    call = last_crash(daemon)["call"]
    assert (call["function"], call["method"], call["request"]) == ("rkllm_abort", "rkllm.run_async", "run")
    assert (call["handle"], call["pid"]) == (handle, os.getpid())


def test_a_crash_in_a_function_that_an_operator_calls_names_it(start: Start, tmp_path: Path) -> None:
    ticket, library = tmp_path / "ticket", operator_library()
    ticket.touch()
    scenario = f"fault.rknn_custom_op_get_op_attr=segfault;fault_ticket={ticket}"
    daemon = start("--operator-directories", str(library.parent), keeper=True, rknn_scenario=scenario)
    with client(daemon) as wire:
        context = wire.load(SCALED)
        wire.request("rknn.register_custom_ops", {"ctx": context, "op": str(library), "attr_names": ["factor"]}, "op")
        assert wire.receive() is None
    call = last_crash(daemon)["call"]
    assert (call["function"], call["method"]) == ("rknn_custom_op_get_op_attr", "rknn.register_custom_ops")
    assert (call["handle"], call["request"]) == (context, "op")


def test_a_daemon_that_is_killed_was_in_no_call(start: Start) -> None:
    daemon = start(keeper=True)
    with daemon.connect() as wire:
        os.kill(wire.ask("server.status")["result"]["daemon_pid"], signal.SIGKILL)
        ends(wire)
    crash = last_crash(daemon)
    assert (crash["end"], crash["call"], crash["stacks"]) == ("SIGKILL", None, "")
    assert daemon.stop() == 0
    assert len(daemon.events("crashed")) == 1


def test_the_last_crash_is_known_after_an_orderly_stop(start: Start, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    options = "--state-directory", str(tmp_path / "state")
    daemon = start(*options, keeper=True)
    with daemon.connect() as wire:
        os.kill(wire.ask("server.status")["result"]["daemon_pid"], signal.SIGABRT)
        ends(wire)
    crash = last_crash(daemon)
    assert crash["end"] == "SIGABRT"
    assert daemon.stop() == 0
    again = start(*options, directory=daemon.directory, keeper=True)
    assert last_crash(again) == crash
    with again.connect() as wire:
        families = {item["name"]: item["samples"] for item in wire.ask("server.metrics")["result"]["families"]}
        assert families["rkllmd_crashes"] == [{"labels": {}, "value": 0}], "of this keeper's daemons none has"
        wire.request("server.watch", {"events": ["crashed"]}, "watch")
        wire.request("server.status", None, "after it")
        assert [wire.receive()["id"] for _ in range(2)] == ["watch", "after it"], "it is no news"


@pytest.mark.parametrize("text", ["no end of line", "x" * 900])
def test_not_a_byte_that_c_has_printed_is_lost(start: Start, tmp_path: Path, text: str) -> None:
    """Also what was read and was no whole line yet."""
    ticket = tmp_path / "ticket"
    ticket.touch()
    daemon = start(
        keeper=True,
        scenario={
            "run": "abort",
            "fault_ticket": ticket,
            "print.stdout": text,
            "print_at": "rkllm_run",
            "print_newline": 0,
        },
    )
    daemon.load()
    with daemon.connect() as wire:
        wire.request("rkllm.run", {"prompt": "Hello"}, 1)
        ends(wire)
    assert last_crash(daemon)["lines"][-1] == text
    assert daemon.log().count(text) >= 2, "once by itself, once in the event"

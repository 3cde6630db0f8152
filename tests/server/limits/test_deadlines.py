"""Calls that take too long: who is told what, and that the others go on."""

from __future__ import annotations

import fcntl
import os
import socket
from typing import Any

import pytest

from tests.daemon import Daemon, Start
from tests.server.limits.waiting import ENDLESS, PICTURE, QUICK, load_vision, wait_state
from tests.wire_connection import kind


def test_a_generation_without_a_first_token_is_stopped_and_the_next_one_served(start: Start) -> None:
    daemon = start(scenario=ENDLESS, changing=True)
    daemon.load()
    with daemon.connect() as wire:
        answer = wire.ask("rkllm.run_async", {"prompt": "Hello"}, first_token_timeout_ms=50)
        assert kind(answer) == "Timeout"
        assert answer["error"]["code"] == -32004
        assert answer["error"]["data"]["limit_ms"] == 50
        assert answer["error"]["data"]["elapsed_ms"] >= 50
        assert "first token" in answer["error"]["message"]
        daemon.play(**QUICK)
        assert wire.ask("rkllm.run", {"prompt": "Hello"}, timeout_ms=600_000)["result"]["text"] == "a b"


def test_a_generation_that_makes_progress_is_not_killed_by_a_clock(start: Start) -> None:
    """It takes longer than it may take for any one token, and ends just when it is looked at (after 2 and 4 s)."""
    daemon = start(scenario="text=a ;tokens=words;repeat=400;pace_us=10000")
    daemon.load(max_new_tokens=0)
    with daemon.connect() as wire:
        answer = wire.ask("rkllm.run", {"prompt": "Hello"}, timeout_ms=2000)
        assert answer["result"]["text"] == "a " * 400


def test_a_whole_run_has_an_end_and_what_it_has_made_is_its_result(start: Start) -> None:
    daemon = start("--run-timeout-ms", "500", scenario="text=ab;repeat=1000000000;pace_us=2000")
    daemon.load(max_new_tokens=0)
    with daemon.connect() as wire:
        result = wire.ask("rkllm.run", {"prompt": "Hello"})["result"]
        assert result["finish_reason"] == "timeout"
        assert result["text"].startswith("abab")
        wire.request("rkllm.run_async", {"prompt": "Hello", "run_timeout_ms": 50}, "stream")
        assert wire.final("stream")["result"]["finish_reason"] == "timeout"
        answer = wire.ask("rkllm.run", {"prompt": "Hello"}, timeout_ms=60_000, run_timeout_ms=10**6)
        assert answer["result"]["finish_reason"] == "timeout", "no client gets more than the operator gives"
    assert [line["limit_ms"] for line in daemon.events("call_timed_out")] == [500, 50, 500]


def test_a_whole_run_of_rknn_has_an_end(start: Start) -> None:
    daemon = start("--grace-ms", "50", rknn_scenario="hold.rknn_run=1")
    daemon.hold()
    with daemon.connect() as wire:
        load_vision(daemon, wire)
        answer = wire.ask("rknn.run", PICTURE, run_timeout_ms=50)
        assert (kind(answer), answer["error"]["data"]["limit_ms"]) == ("Timeout", 50)
        daemon.let_go()
        wait_state(wire, "idle")


def test_a_generation_that_stops_getting_on_is_stopped(start: Start) -> None:
    daemon = start("--token-timeout-ms", "100", "--grace-ms", "100", scenario="text=a b c;tokens=words;run=hang@2")
    daemon.load()
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt": "Hello"}, 1)
        *partials, final = wire.until_final(1)
        assert [message["result"]["text"] for message in partials] == ["a ", "b "]
        assert kind(final) == "Timeout"
        assert "next token" in final["error"]["message"]


def test_a_call_that_waits_too_long_is_answered_while_the_other_goes_on(start: Start) -> None:
    daemon = start(scenario=ENDLESS)
    daemon.load()
    with daemon.connect() as first, daemon.connect() as second:
        first.request("rkllm.run", {"prompt": "Hello"}, "held")
        daemon.wait_enter("rkllm_run")
        answer = second.ask("rkllm.run", {"prompt": "Hello"}, wait_timeout_ms=50)
        assert kind(answer) == "Timeout"
        assert answer["error"]["data"]["limit_ms"] == 50
        assert "turn" in answer["error"]["message"]
        assert second.ask("server.status")["result"]["state"] == "running"
        first.ask("server.cancel", {"id": "held"})
        assert first.final("held")["result"]["finish_reason"] == "abort"


def test_what_cannot_be_interrupted_is_answered_when_the_grace_is_over(start: Start) -> None:
    """The C call goes on; nobody else is let in meanwhile, and its own answer is not sent a second time."""
    daemon = start("--grace-ms", "50", rknn_scenario="run_us=3000000")
    with daemon.connect() as wire:
        load_vision(daemon, wire)
        before = daemon.open_files()
        wire.request("rknn.run", PICTURE, 1, timeout_ms=50)
        answer = wire.final(1)
        assert kind(answer) == "Timeout"
        assert daemon.calls("rknn_run", "leave") == 0, "it is still inside"
        assert wire.ask("server.status")["result"]["state"] == "aborting"
        assert "result" in wire.ask("rknn.run", PICTURE, 1), "the id is free again, and the call waits for its turn"
        assert wire.ask("server.status")["result"]["state"] == "idle"
        assert daemon.open_files() == before


def test_descriptors_stay_open_as_long_as_the_call_that_reads_them(start: Start) -> None:
    daemon = start("--grace-ms", "50", rknn_scenario="delay.rknn_inputs_set=2000")
    with daemon.connect() as wire:
        load_vision(daemon, wire)
        before = daemon.open_files()
        fd = os.memfd_create("tensor", os.MFD_ALLOW_SEALING)
        os.truncate(fd, 48)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        line = (
            b'{"jsonrpc":"2.0","id":1,"method":"rknn.inputs_set","fds":1,"timeout_ms":50,'
            b'"params":{"inputs":[{"index":0,"buf":{"fd":0,"dtype":"int8"}}]}}\n'
        )
        socket.send_fds(wire.socket, [line], [fd])
        os.close(fd)
        assert kind(wire.final(1)) == "Timeout"
        assert daemon.open_files() > before
        wait_state(wire, "idle")
        assert daemon.open_files() == before


def test_a_load_that_took_too_long_is_undone(start: Start) -> None:
    daemon = start("--grace-ms", "50", scenario="delay.rkllm_init=2000")
    with daemon.connect() as wire:
        answer = wire.ask("rkllm.init", {"model_path": str(daemon.model)}, timeout_ms=50)
        assert kind(answer) == "Timeout"
        wait_state(wire, "idle")
        assert wire.ask("server.status")["result"]["models"] == []
        assert daemon.calls("rkllm_destroy") == 1


@pytest.mark.parametrize("member", ["timeout_ms", "first_token_timeout_ms", "wait_timeout_ms"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "100", True, 2**40, [1]])
def test_a_wrong_limit_is_refused(start_for_module: Start, member: str, value: Any) -> None:
    daemon = module_daemon(start_for_module)
    with daemon.connect() as wire:
        answer = wire.ask("rkllm.run", {"prompt": "Hello"}, **{member: value})
        assert answer["error"]["code"] == -32602
        assert answer["error"]["data"]["member"] == member


_shared: list[Daemon] = []


def module_daemon(start: Start) -> Daemon:
    """Return the daemon that the tests of this module share."""
    if not _shared or _shared[0].process.poll() is not None:
        _shared[:] = [start(scenario=QUICK)]
        _shared[0].load()
    return _shared[0]

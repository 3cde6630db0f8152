"""server.watch: what happens is reported as it happens, over the real socket."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.daemon import Start
from tests.server.jobs.submitting import ended
from tests.wire_connection import Wire, kind


def watch(wire: Wire, *events: str) -> None:
    answer = wire.ask("server.watch", {"events": list(events)}, "watch")
    assert answer["result"] == {"watching": sorted(events)}


def until(wire: Wire, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Return the events up to the wanted one; answers to requests are skipped."""
    events: list[dict[str, Any]] = []
    while True:
        message = wire.receive()
        assert message is not None, "the daemon closed the connection"
        if message.get("method") == "server.event":
            assert message.keys() == {"jsonrpc", "method", "params"}
            events.append(message["params"])
            if wanted(events[-1]):
                return events


def test_a_load_with_its_progress(start: Start) -> None:
    daemon = start(scenario="delay.rkllm_init=700")
    daemon.model.write_bytes(b"SIMMODEL" + bytes(1000))
    with daemon.connect() as watcher, daemon.connect() as loader:
        watch(watcher, "load")
        loader.request("rkllm.init", {"model_path": str(daemon.model)})
        events = until(watcher, lambda event: bool(event["state"] == "end"))
        assert events[0]["state"] == "begin"
        assert {event["state"] for event in events[1:-1]} == {"progress"}
        assert {event["event"] for event in events} == {"load"}
        assert {event["method"] for event in events} == {"rkllm.init"}
        assert {event["model_path"] for event in events} == {str(daemon.model)}
        shown = [event["progress"] for event in events[1:-1]]
        assert {item["bytes"] for item in shown} == {1008}
        assert all(0 <= item["bytes_read"] <= 1008 for item in shown if item["bytes_read"] is not None)
        assert "error" not in events[-1]
        assert kind(loader.final(1)) is None


def test_the_second_load_of_a_model_knows_how_long_it_takes(start: Start) -> None:
    daemon = start(scenario="delay.rkllm_init=600")
    daemon.load()
    with daemon.connect() as wire:
        wire.ask("rkllm.destroy")
        watch(wire, "load")
        wire.request("rkllm.init", {"model_path": str(daemon.model)})
        events = until(wire, lambda event: bool(event["state"] == "end"))
        shown = [event["progress"] for event in events if event["state"] == "progress"]
        assert all(item["expected_ms"] >= 600 for item in shown)
        fractions = [item["fraction"] for item in shown]
        assert fractions == sorted(fractions)
        assert fractions[-1] <= 1


def test_a_failed_load_ends_with_its_error(start: Start) -> None:
    daemon = start(scenario="init=fail")
    with daemon.connect() as wire:
        watch(wire, "load")
        wire.request("rkllm.init", {"model_path": str(daemon.model)})
        assert until(wire, lambda event: bool(event["state"] == "end"))[-1]["error"]["data"]["kind"] == "RuntimeError"


def test_the_queue_while_it_moves(start: Start) -> None:
    daemon = start(scenario="text=ab;repeat=1000000000;pace_us=300")
    daemon.load(max_new_tokens=0)
    with daemon.connect() as watcher, daemon.connect() as wire:
        watch(watcher, "queue")
        assert until(watcher, lambda event: True)[0]["state"] == "idle", "the present state comes at once"
        wire.request("rkllm.run", {"prompt": "Hello"}, 1)
        wire.request("rkllm.run", {"prompt": "Hello"}, 2)
        (*_, last) = until(watcher, lambda event: bool(event["length"] == 1))
        assert last["state"] == "running"
        assert last["current"]["method"] == "rkllm.run"
        assert last["queue"][0].keys() == {
            "method",
            "client",
            "priority",
            "position",
            "queued_ms",
            "estimated_wait_ms",
        }
        wire.request("server.cancel", {"id": 2}, "cancel")
        until(watcher, lambda event: bool(event["length"] == 0))
        wire.request("server.cancel", {"id": 1}, "cancel")
        until(watcher, lambda event: bool(event["state"] == "idle"))


def test_a_job_that_ends(start: Start) -> None:
    daemon = start(scenario="text=abcd")
    daemon.load()
    with daemon.connect() as watcher, daemon.connect() as wire:
        watch(watcher, "job")
        job = wire.ask("server.submit", {"method": "rkllm.run", "params": {"prompt": "Hello"}})["result"]["job"]
        (event,) = until(watcher, lambda event: True)
        assert event.keys() == {"event", "job", "method", "status", "elapsed_ms"}
        assert (event["job"], event["status"]) == (job, "completed")
        wire.ask("server.submit", {"method": "rkllm.load_lora", "params": [{"lora_adapter_path": str(daemon.model)}]})
        (event,) = until(watcher, lambda event: True)
        assert event["method"] == "rkllm.load_lora"


def test_a_second_watch_replaces_the_first_and_an_empty_one_ends_it(start: Start) -> None:
    daemon = start(scenario="text=abcd")
    daemon.load()
    with daemon.connect() as wire:
        watch(wire, "queue", "load")
        watch(wire, "job")
        wire.request("server.submit", {"method": "rkllm.run", "params": {"prompt": "Hello"}}, "submit")
        events = until(wire, lambda event: bool(event["event"] == "job"))
        # What was told before the second watch may stand before its answer, never behind it.
        assert [event["event"] for event in events] == ["job"]
        watch(wire)
        wire.ask("rkllm.run", {"prompt": "Hello"}, "run")
        wire.request("server.queue", None, "next")
        assert wire.receive()["id"] == "next"


@pytest.mark.parametrize(
    "params", [{}, [], {"events": None}, {"events": "load"}, {"events": ["loads"]}, {"events": ["load"] * 6}, {"x": 1}]
)
def test_wrong_parameters(start: Start, params: Any) -> None:
    with start().connect() as wire:
        answer = wire.ask("server.watch", params)
        assert kind(answer) == "InvalidParams"
        if params == {"events": ["loads"]}:
            assert answer["error"]["data"]["limit"] == ["queue", "load", "models", "job", "crashed"]


def test_a_watcher_that_has_half_closed_is_told_until_it_leaves(start: Start) -> None:
    """As with socat and ``nc -N``, whose input has ended."""
    daemon = start(scenario="text=abcd")
    daemon.load()
    with daemon.connect() as wire:
        with daemon.connect() as watcher:
            watcher.request("server.watch", {"events": ["job"]})
            watcher.half_close()
            assert watcher.receive()["result"] == {"watching": ["job"]}
            wire.ask("server.submit", {"method": "rkllm.run", "params": {"prompt": "Hello"}})
            assert until(watcher, lambda event: True)[0]["status"] == "completed"
        while wire.ask("server.status")["result"]["clients"] > 1:
            pass  # its leaving is seen


def test_a_watcher_that_does_not_read_is_dropped(start: Start) -> None:
    daemon = start("--outbox-bytes", "65536", "--outbox-seconds", "3600", "--log-level", "1", scenario="text=ab")
    daemon.load()
    with daemon.connect() as watcher, daemon.connect() as wire:
        watcher.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        watch(watcher, "job")
        while not daemon.events("slow_reader"):
            job = wire.ask("server.submit", {"method": "rkllm.clear_kv_cache", "params": [None, 1]})["result"]["job"]
            assert ended(wire, job)["status"] == "completed"
            wire.ask("server.job", {"job": job, "forget": True})
        assert kind(wire.ask("server.queue")) is None

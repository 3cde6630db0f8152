"""A camera is served between the tokens of a long answer, and never at the same time as one."""

from __future__ import annotations

import base64
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from rkllmd.client import Client
from tests.daemon import Daemon
from tests.wire_connection import ANSWER_SECONDS, Wire, streamed

TOKEN_MS, FRAME_MS, TOKENS = 30, 8, 20
ENDLESS = 1_000_000_000
SCENARIO = {"text": "x ", "repeat": TOKENS, "tokens": "words", "pace_us": 1000 * TOKEN_MS, "trace_callbacks": 2}
PICTURE = base64.b64encode(bytes(48)).decode()
BOTH = pytest.mark.parametrize("function", ["rkllm_run", "rkllm_run_async"])


def started(start: Callable[..., Daemon], function: str, *arguments: str, **scenario: Any) -> Daemon:
    daemon = start(
        *("--run-async-calls", function),
        *arguments,
        scenario={**SCENARIO, **scenario},
        rknn_scenario={"run_us": 1000 * FRAME_MS},
    )
    daemon.load(max_new_tokens=0)
    return daemon


def camera(daemon: Daemon, frames: queue.Queue[int], stop: threading.Event) -> None:
    """Classify pictures, 15 in a second, and tell of each."""
    with Client(daemon.path) as client:
        client.call("rknn.init", {"model_path": str(daemon.model)})
        ready = time.monotonic()
        while not stop.is_set():
            client.call("rknn.infer", {"inputs": PICTURE})
            frames.put(1)
            ready += 1 / 15
            stop.wait(max(0.0, ready - time.monotonic()))


@BOTH
def test_frames_wait_for_a_token_and_not_for_the_answer(start: Callable[..., Daemon], function: str) -> None:
    daemon = started(start, function, repeat=ENDLESS)
    frames: queue.Queue[int] = queue.Queue()
    stop = threading.Event()
    thread = threading.Thread(target=camera, args=(daemon, frames, stop))
    thread.start()
    try:
        daemon.wait_enter("rknn_run")
        with daemon.connect() as wire:
            wire.request("rkllm.run_async", {"prompt": "tell me"}, 1)
            messages = [wire.receive()]
            while not frames.empty():
                frames.get()
            # One may have been under way before the run. How long they wait tells make bench, not a busy machine.
            for _ in range(6):
                frames.get(timeout=ANSWER_SECONDS)
            messages += cancelled(wire, 1)
    finally:
        stop.set()
        thread.join()
    assert streamed(messages) == "x " * (len(messages) - 1)
    assert daemon.faults() == [], "never two operations at once"


@BOTH
def test_where_it_is_not_wanted_frames_wait_for_the_end(start: Callable[..., Daemon], function: str) -> None:
    daemon = started(start, function, "--between-tokens", "never", repeat=10)
    with daemon.connect() as wire, daemon.connect() as eyes:
        eyes.ask("rknn.init", {"model_path": str(daemon.model)})
        wire.request("rkllm.run_async", {"prompt": "tell me"}, 1)
        assert wire.receive()["result"]["seq"] == 0
        eyes.request("rknn.infer", {"inputs": PICTURE}, 2)
        wire.until_final(1)
        assert "result" in eyes.final(2)
    events = [line[2:4] for line in daemon.trace() if line[2] in ("enter", "finished", "leave")]
    assert events.index(["enter", "rknn_run"]) > max(
        events.index([event, function]) for event in ("leave", "finished") if [event, function] in events
    )


@BOTH
def test_loads_and_runs_that_go_on_wait_for_the_end(start: Callable[..., Daemon], function: str) -> None:
    daemon = started(start, function, repeat=ENDLESS)
    with daemon.connect() as wire, daemon.connect() as eyes:
        eyes.ask("rknn.init", {"model_path": str(daemon.model)})
        eyes.ask("rknn.inputs_set", {"inputs": {"buf": PICTURE}})
        wire.request("rkllm.run_async", {"prompt": "tell me"}, 1)
        assert wire.receive()["result"]["seq"] == 0
        eyes.request("rknn.run", {"extend": {"non_block": 1}}, 2)
        with daemon.connect() as third, daemon.connect() as looker:
            third.request("rknn.init", {"model_path": str(daemon.model)}, 3)
            while looker.ask("server.queue")["result"]["length"] < 2:
                pass
            cancelled(wire, 1)
            assert "result" in third.final(3)
        assert "result" in eyes.final(2)
        assert "result" in eyes.ask("rknn.wait")


@BOTH
def test_a_failing_frame_fails_alone(start: Callable[..., Daemon], function: str) -> None:
    daemon = started(start, function)
    with daemon.connect() as wire, daemon.connect() as eyes:
        eyes.ask("rknn.init", {"model_path": str(daemon.model)})
        wire.request("rkllm.run_async", {"prompt": "tell me"}, 1)
        assert wire.receive()["result"]["seq"] == 0
        assert eyes.ask("rknn.infer", {"inputs": "AAAA"})["error"]["data"]["kind"] == "InvalidParams"
        assert "result" in eyes.ask("rknn.infer", {"inputs": PICTURE})
        rest = wire.until_final(1)
        assert rest[-1]["result"]["finish_reason"] == "stop"


@BOTH
def test_cancelling_and_leaving_between_tokens(start: Callable[..., Daemon], function: str) -> None:
    daemon = started(start, function, repeat=ENDLESS)
    with daemon.connect() as wire:
        for round_number in range(4):
            leaving = daemon.connect()
            leaving.ask("rknn.init", {"model_path": str(daemon.model)})
            wire.request("rkllm.run_async", {"prompt": "tell me"}, round_number)
            assert wire.receive()["result"]["seq"] == 0
            for number in range(10):
                leaving.request("rknn.infer", {"inputs": PICTURE}, number)
            leaving.final(0)
            leaving.socket.close()
            cancelled(wire, round_number)
        again = {"prompt": "again", "max_new_tokens": 3}
        assert wire.ask("rkllm.run", again, "again", stream="final")["result"]["text"] == "x x x "
        daemon.wait_for("all is released", lambda: not _contexts(daemon))


def cancelled(wire: Wire, call_id: int) -> list[dict[str, Any]]:
    """Cancel an endless run; return the rest of its messages."""
    wire.request("server.cancel", {"id": call_id}, f"cancel {call_id}")
    rest = wire.until_final(call_id)
    assert rest[-1]["result"]["finish_reason"] == "abort"
    return rest


def _contexts(daemon: Daemon) -> list[Any]:
    with daemon.connect() as wire:
        contexts: list[Any] = wire.ask("server.status")["result"]["contexts"]
        return contexts

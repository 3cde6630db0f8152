"""The daemon never freezes, and two NPU operations never overlap."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
from typing import Any

import pytest

from tests.daemon import Daemon, Start
from tests.simulator.trace import overlaps
from tests.wire_connection import Wire, kind

CLIENTS = 100
INSTANT = (
    "server.status",
    "server.queue",
    "rkllm.get_functions",
    "rkllm.get_constants",
    "rkllm.createDefaultParam",
    "rpc.discover",
)
# For the long run: RKLLMD_MIX=5000.
MIX = int(os.environ.get("RKLLMD_MIX", "40"))


def test_instant_methods_are_answered_while_a_model_loads(start: Start) -> None:
    """The load never ends, so whatever is answered was answered during it."""
    daemon = start("--max-connections", str(CLIENTS + 1), scenario="init=hang")
    with contextlib.ExitStack() as stack:
        loader = stack.enter_context(daemon.connect())
        wires = [stack.enter_context(daemon.connect()) for _ in range(CLIENTS)]
        loader.request("rkllm.init", {"model_path": str(daemon.model)}, "load")
        daemon.wait_enter("rkllm_init")
        for method in INSTANT:
            for number, wire in enumerate(wires):
                wire.request(method, None, number)
            for number, wire in enumerate(wires):
                answer = wire.final(number)
                assert kind(answer) is None, f"{method} failed while a model loads: {answer}"
        state = loader.ask("server.status", None, "state")["result"]
        assert (state["state"], state["current"]["method"]) == ("loading", "rkllm.init")
    daemon.stop(signal.SIGKILL)


def test_methods_about_a_model_are_answered_while_it_runs(start: Start) -> None:
    daemon = start(scenario="prefill_ms=600000;prefill_abort=1")
    daemon.load()
    with daemon.connect() as runner, daemon.connect() as other:
        runner.request("rkllm.run_async", {"prompt_input": "Hello"})
        daemon.wait_enter("rkllm_run_async")
        assert other.ask("rkllm.is_running")["result"]["is_running"] is True
        assert other.ask("rkllm.get_kv_cache_size")["result"] == {
            "success": True,
            "cache_sizes": [0],
            "running": True,
        }
        assert other.ask("rkllm.abort")["result"]["aborted"] is True
        assert runner.final(1)["result"]["finish_reason"] == "abort"
        assert other.ask("rkllm.is_running")["result"] == {"is_running": False, "status_code": 0}


def test_an_ordered_call_waits_for_the_run_before_it(start: Start) -> None:
    """Whether these C functions may be called during a run is unknown, so they are not."""
    daemon = start(scenario="prefill_hold=1")
    daemon.load()
    with daemon.connect() as runner, daemon.connect() as other:
        runner.request("rkllm.run_async", {"prompt_input": "Hello"})
        daemon.wait_enter("rkllm_run_async")
        other.request("rkllm.clear_kv_cache", [None, 1])
        assert other.ask("server.queue", None, "queue")["result"]["length"] == 1
        daemon.let_go()
        assert other.final(1)["result"]["success"] is True
        events = [line[2:4] for line in daemon.trace()]
        assert events.index(["enter", "rkllm_clear_kv_cache"]) > events.index(["finished", "rkllm_run_async"])
        assert runner.final(1)["result"]["finish_reason"] == "stop"


def test_a_call_right_after_a_pipelined_load_and_run_waits_for_the_run(start: Start) -> None:
    """The run's model is not known before its turn; until then it may be any. Its big input makes that a while."""
    daemon = start(scenario="hold.rkllm_init=1")
    run = {"input_type": "RKLLM_INPUT_TOKEN", "token_input": {"input_ids": [1] * 300_000}}
    with daemon.connect() as wire, daemon.connect() as other:
        wire.request("rkllm.init", {"model_path": str(daemon.model)}, "init")
        wire.request("rkllm.run_async", run, "run")
        while other.ask("server.queue")["result"]["length"] == 0:
            pass
        daemon.let_go()
        handle = wire.final("init")["result"]["handle"]
        assert kind(other.ask("rkllm.clear_kv_cache", [handle, 1])) is None
        assert wire.final("run")["result"]["finish_reason"] == "stop"
    events = [line[2:4] for line in daemon.trace()]
    assert events.index(["enter", "rkllm_clear_kv_cache"]) > events.index(["finished", "rkllm_run_async"])


@pytest.mark.parametrize(("version", "run_async"), [("1.2.2", "rkllm_run"), ("1.2.3", "auto"), ("1.3.0", "auto")])
def test_a_random_mix_never_overlaps_on_the_npu(start: Start, version: str, run_async: str) -> None:
    """Calls, cancels, aborts, loads, unloads and disconnects of several clients at once."""
    scenario = "text=abcdefgh;repeat=6;pace_us=100;prefill_ms=1;prefill_abort=1"
    settings = ("--max-models", "2", "--run-async-calls", run_async)
    daemon = start(*settings, scenario=scenario, version=version)
    handle = daemon.load()
    runs = ("rkllm_run", "rkllm_run_async")
    failures: list[str] = []
    threads = [threading.Thread(target=_mix, args=(daemon, handle, seed, failures)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sum(daemon.calls(function) for function in runs) >= MIX // 4, "the mix is one of runs, not of refusals"
    assert daemon.calls("rkllm_abort") > 0
    assert daemon.calls("rkllm_init") > 1
    with daemon.connect() as wire:
        for model in wire.ask("server.status")["result"]["models"]:
            assert kind(wire.ask("rkllm.destroy", [model["handle"]])) is None
        assert kind(wire.ask("rkllm.init", {"model_path": str(daemon.model)})) is None
        assert kind(wire.ask("rkllm.run", {"prompt_input": "Hello"})) is None, "it still serves"
    assert overlaps(daemon.trace()) == []


# What a client of the mix may be told. Anything else is a fault.
EXPECTED = {
    None,
    "Cancelled",
    "ModelNotInitialized",
    "ModelAlreadyLoaded",
    "AmbiguousHandle",
    "InvalidHandle",
}


def _mix(daemon: Daemon, handle: int, seed: int, failures: list[str]) -> None:
    choice = random.Random(seed)
    try:
        for _ in range(MIX // 5):
            with daemon.connect() as wire:
                _talk(wire, choice, str(daemon.model), handle)
    except Exception as error:
        failures.append(f"client {seed}: {error!r}")


def _talk(wire: Wire, choice: random.Random, model: str, first: int) -> None:
    """Send some calls at random; then either leave, or wait until each is answered once.

    Models beside the first one are loaded and destroyed all the while; the first one stays for the runs.
    """
    models = wire.ask("server.status", None, "status")["result"]["models"]
    second = next((model["handle"] for model in models if model["handle"] != first), first + 1)
    handle = choice.choice([first, first, first, second, None])
    calls: list[tuple[str, Any]] = [
        ("rkllm.run_async", [handle, {"prompt_input": "Hello"}]),
        ("rkllm.run_async", [handle, {"prompt_input": "Hello"}, {"keep_history": 1}]),
        ("rkllm.run", [handle, {"prompt_input": "Hello"}]),
        ("rkllm.init", {"model_path": model}),
        ("rkllm.init", {"model_path": model, "replace": second}),
        ("rkllm.destroy", [second]),
        ("rkllm.clear_kv_cache", [handle, 1]),
        ("rkllm.is_running", [handle]),
        ("rkllm.get_kv_cache_size", [handle]),
        ("rkllm.abort", [handle]),
        ("server.cancel", {"id": choice.randrange(10)}),
        ("server.pause", {"id": choice.randrange(10)}),
        ("server.status", None),
        ("server.submit", {"method": "rkllm.run_async", "params": [handle, {"prompt_input": "Hello"}]}),
        ("server.watch", {"events": choice.sample(("queue", "load", "job"), 2)}),
    ]
    weights = [8, 3, 4, 2, 1, 1, 4, 3, 3, 2, 4, 2, 2, 2, 2]
    sent = choice.randrange(1, 12)
    lines = []
    for number, (method, params) in enumerate(choice.choices(calls, weights, k=sent)):
        message = {"jsonrpc": "2.0", "id": number, "method": method, **({} if params is None else {"params": params})}
        lines.append(json.dumps(message) + "\n")
    wire.send("".join(lines).encode())
    open_calls = set(range(sent))
    leave_after = choice.choice([0, 1, 10**9, 10**9])
    while open_calls and leave_after:
        leave_after -= 1
        message = wire.receive()
        assert message is not None, "the daemon closed the connection"
        if message.get("method") == "server.event":
            continue
        if message.get("result", {}).get("_callback_state") in (0, 1):
            assert message["id"] in open_calls, "a partial result after the final one"
            continue
        open_calls.remove(message["id"])  # KeyError: answered twice
        assert kind(message) in EXPECTED, message

"""Many clients, both libraries, anything at random: one NPU operation at a time, nobody forgotten, nothing left."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import threading
from pathlib import Path
from typing import Any

from tests.daemon import Daemon, Start
from tests.simulator.trace import NPU_FUNCTIONS, live, overlaps
from tests.wire_connection import Wire, kind

# For the long run: RKLLMD_OPERATIONS=100000.
OPERATIONS = int(os.environ.get("RKLLMD_OPERATIONS", "500"))
CLIENTS = 8
PICTURE = {"input_data": base64.b64encode(bytes(48)).decode(), "outputs": True}
CALM = {"text": "a b c d", "tokens": "words", "pace_us": 200, "prefill_ms": 1, "prefill_abort": 1, "trace_callbacks": 2}
# What the simulators do for a while; the fault is gone with the next one.
RKLLM_WEATHER: tuple[dict[str, Any], ...] = (
    CALM,
    CALM,
    {**CALM, "repeat": 20, "thread": "own"},
    {**CALM, "prefill_ms": 10, "prefill_abort": 0},
    {**CALM, "run": "error@2"},
    {**CALM, "init": "fail"},
    {**CALM, "abort_lag": 3},
    {**CALM, "delay__rkllm_clear_kv_cache": 5},
    # After which the daemon waits a second for the last callback of rkllm_run_async:
    {**CALM, "run": "fail"},
    {**CALM, "finish_after_abort": 0},
)
RKNN_WEATHER: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"run_us": 2000},
    {"run_us": 5000},
    {"fault.rknn_inputs_set": "fail"},
    {"fault.rknn_outputs_get": "fail"},
    {"fault.rknn_create_mem": "fail"},
    {"init": "fail"},
    {"log": "none", "run": "fail"},
    {"run": "fail"},  # with the line that means a stuck NPU
)
# What a client may be told in such weather. Anything else is a fault of the daemon.
EXPECTED = {
    None,
    "AmbiguousHandle",
    "Cancelled",
    "DeviceLost",
    "InvalidHandle",
    "ModelAlreadyLoaded",
    "ModelNotInitialized",
    "RuntimeError",
    "Timeout",
}


def test_a_hundred_instant_and_five_npu_requests_at_once(start: Start) -> None:
    """All are sent before any is answered, each by a connection of its own."""
    daemon = start("--max-connections", "200", scenario="text=a b c;tokens=words;pace_us=2000")
    daemon.load()
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(daemon.connect()) for _ in range(105)]
        for number, wire in enumerate(wires):
            method = "rkllm.run" if number % 21 == 20 else ("server.status", "rkllm.get_constants")[number % 2]
            wire.request(method, {"prompt": "Hello"} if method == "rkllm.run" else None, number)
        answers = [wire.final(number) for number, wire in enumerate(wires)]
    assert [kind(answer) for answer in answers] == [None] * 105
    assert [answer["result"]["text"] for answer in answers[20::21]] == ["a b c"] * 5


def test_five_clients_on_instant_methods_while_another_of_ten_loads(start: Start) -> None:
    """The load lasts until the others have asked a thousand times."""
    daemon = start("--grace-ms", "100", scenario="delay.rkllm_init=1500")
    with contextlib.ExitStack() as stack:
        loader, *others = [stack.enter_context(daemon.connect()) for _ in range(10)]
        loader.request("rkllm.init", {"model_path": str(daemon.model)}, "load")
        daemon.wait_enter("rkllm_init")
        for wire in others[5:]:
            wire.request("rkllm.run", {"prompt": "Hello"}, "run")
        for number in range(200):
            for wire in others[:5]:
                assert kind(wire.ask("server.status", None, number)) is None
        assert kind(loader.final("load")) is None
        assert [kind(wire.final("run")) for wire in others[5:]] == [None] * 4


def test_random_cancels_disconnects_limits_and_faults(start: Start, tmp_path: Path) -> None:
    rknn_weather = tmp_path / "rknn"
    rknn_weather.write_text("")
    limits = ("--max-models", "2", "--between-tokens", "always", "--grace-ms", "20", "--device-retry-seconds", "1")
    daemon = start(*limits, scenario=CALM, rknn_scenario=f"@{rknn_weather}", changing=True)
    vision = tmp_path / "model.rknn"
    vision.touch()
    storm = _Storm(daemon, daemon.load(), vision, rknn_weather)
    threads = [threading.Thread(target=storm.client, args=(seed,)) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storm.failures == []
    storm.clear_up()
    trace = daemon.trace()
    operations = sum(1 for line in trace if line[2] == "enter" and line[3] in NPU_FUNCTIONS)
    assert operations >= OPERATIONS, "the storm is one of operations, not of refusals"
    assert overlaps(trace) == []
    assert live(trace) == {"contexts": 0, "memories": 0, "matmuls": 0}


class _Storm:
    """Clients that do anything, until enough was done."""

    def __init__(self, daemon: Daemon, model: int, vision: Path, rknn_weather: Path) -> None:
        self.failures: list[str] = []
        self._daemon = daemon
        self._model = model
        self._vision = vision
        self._rknn_weather = rknn_weather
        self._lock = threading.Lock()
        self._done = 0

    def client(self, seed: int) -> None:
        """Connect, talk, leave in some way, and again."""
        choice = random.Random(seed)
        try:
            while self._done < OPERATIONS and not self.failures:
                if seed == 0:
                    self._change_weather(choice)
                with self._daemon.connect() as wire:
                    self._visit(wire, choice)
        except Exception as error:
            self.failures.append(f"client {seed}: {error!r}")

    def clear_up(self) -> None:
        """Wait until the daemon has done the rest, and look that it serves and holds nothing of clients that left."""
        self._daemon.play(**CALM)
        self._play_rknn({})
        with self._daemon.connect() as wire:
            while kind(wire.ask("rkllm.run", [self._model, {"prompt_input": "Hello"}])) is not None:
                pass
            while True:
                status = wire.ask("server.status")["result"]
                if (status["state"], status["queue_length"], status["clients"]) == ("idle", 0, 1):
                    break
            assert (status["contexts"], status["matmuls"], status["memories"]) == ([], [], [])

    def _change_weather(self, choice: random.Random) -> None:
        self._daemon.play(**choice.choices(RKLLM_WEATHER, [40] * 8 + [1, 1])[0])
        self._play_rknn(choice.choices(RKNN_WEATHER, [40] * 9 + [1])[0])

    def _play_rknn(self, scenario: dict[str, Any]) -> None:
        beside = self._rknn_weather.with_suffix(".new")
        beside.write_text("".join(f"{key}={value}\n" for key, value in scenario.items()))
        beside.replace(self._rknn_weather)

    def _visit(self, wire: Wire, choice: random.Random) -> None:
        context = wire.ask("rknn.init", {"model_path": str(self._vision)}, "context").get("result", {}).get("context")
        for _ in range(choice.randrange(1, 6)):
            calls = self._send(wire, choice, context)
            leaves = choice.random() < 0.15
            self._receive(wire, calls, at_most=choice.randrange(len(calls) + 1) if leaves else 10**9)
            if leaves:
                return

    def _send(self, wire: Wire, choice: random.Random, context: int | None) -> dict[str, str]:
        """Send some calls in one go, take some of them back; return the methods by the ids that are to be answered."""
        model = choice.choice([self._model, self._model, self._model, None])
        calls: list[tuple[int, str, Any]] = [
            (8, "rkllm.run_async", [model, {"prompt_input": "Hello"}]),
            (3, "rkllm.run_async", [model, {"prompt_input": "Hello"}, {"keep_history": 1}]),
            (4, "rkllm.run", [model, {"prompt_input": "Hello"}]),
            (3, "rkllm.clear_kv_cache", [model, 1]),
            (1, "rkllm.abort", [model]),
            (1, "rkllm.init", {"model_path": str(self._daemon.model)}),
            (1, "rkllm.destroy", [self._model + choice.randrange(1, 30)]),
            (2, "server.status", None),
            (2, "server.queue", None),
            (16, "rknn.run", {"context": context, **PICTURE}),
            (6, "rknn.infer", {"context": context, "inputs": PICTURE["input_data"]}),
            (3, "rknn.create_mem", {"context": context, "size": 4096}),
            (2, "rknn.init", {"model_path": str(self._vision)}),
            (1, "rknn.destroy", [context]),
        ]
        lines, ids = [], {}
        for number in range(choice.randrange(1, 10)):
            _, method, params = choice.choices(calls, [weight for weight, _, _ in calls])[0]
            message: dict[str, Any] = {"jsonrpc": "2.0", "id": f"call {number}", "method": method}
            if params is not None:
                message["params"] = params
            if choice.random() < 0.1:
                message[choice.choice(["timeout_ms", "first_token_timeout_ms", "wait_timeout_ms"])] = choice.choice(
                    [1, 3, 10]
                )
            if choice.random() < 0.2:
                message["priority"] = "low"
            lines.append(json.dumps(message))
            ids[f"call {number}"] = method
            if choice.random() < 0.25:
                method = choice.choice(["server.cancel", "server.cancel", "server.pause"])
                taken = {"jsonrpc": "2.0", "method": method, "params": {"id": f"call {choice.randrange(number + 1)}"}}
                lines.append(json.dumps(taken))
        wire.send(("\n".join(lines) + "\n").encode())
        return ids

    def _receive(self, wire: Wire, open_calls: dict[str, str], at_most: int) -> None:
        """Look that each call is answered once, after its partial results; leave after ``at_most`` messages."""
        while open_calls and at_most:
            at_most -= 1
            message = wire.receive()
            assert message is not None, "the daemon closed the connection"
            if message.get("result", {}).get("_callback_state") in (0, 1):
                assert message["id"] in open_calls, "a partial result after the final one"
                continue
            method = open_calls.pop(message["id"])  # KeyError: answered twice
            assert kind(message) in EXPECTED, message
            if method.startswith(("rkllm.run", "rknn.")) and kind(message) in (None, "RuntimeError"):
                with self._lock:
                    self._done += 1

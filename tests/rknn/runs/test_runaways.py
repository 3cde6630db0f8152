"""Runs that do not end by themselves: each ends with its call, and nobody else has to wait for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.daemon import Daemon, until
from tests.portable.rknn.graphs import floats, forever, forever_on_zeros
from tests.rknn.board import Client, b64, client, held, tensor, until_nothing_is_held

GO, STAY = ({"data": b64(np.array(on)), "dtype": "bool"} for on in (True, False))
X = tensor(np.ones(1, np.float32))
ENDLESS = {"inputs": [{"buf": GO}, {"buf": X}]}
ENDS = {"inputs": [{"buf": STAY}, {"buf": X}]}
NON_BLOCK = {"extend": {"non_block": 1}}


@pytest.fixture(scope="module")
def portable_daemon(start_for_module: Callable[..., Daemon]) -> Daemon:
    """Return a daemon that would count a call as stuck soon: whatever goes on here must have ended by then."""
    return start_for_module("--timeouts-ms", "default=20000", "--grace-ms", "10000", runtime="portable")


def state(daemon: Daemon) -> str:
    with client(daemon) as wire:
        return str(wire.result("server.status")["state"])


def until_running(daemon: Daemon) -> None:
    until("a call runs", lambda: state(daemon) == "running")


def is_well(daemon: Daemon) -> bool:
    """Return whether another client is served, and nothing was lost."""
    with client(daemon) as wire:
        wire.load(floats())
        wire.infer(tensor(np.zeros((1, 4, 4, 3), np.float32)))
        return wire.result("server.status")["device_lost"] is None and not daemon.events("device_lost")


@pytest.mark.parametrize("method", ["rknn.infer", "rknn.run"])
def test_a_run_for_ever_ends_at_its_time_limit(portable: Client, portable_daemon: Daemon, method: str) -> None:
    portable.load(forever())
    refused = portable.refused(method, ENDLESS, timeout_ms=200)
    assert (refused["kind"], refused["limit_ms"]) == ("Timeout", 200)
    assert portable.infer(ENDS["inputs"])[0].tolist() == [1.0], "the context is as good as before"
    assert is_well(portable_daemon)


def test_a_run_for_ever_ends_when_it_is_cancelled(portable: Client, portable_daemon: Daemon) -> None:
    portable.load(forever())
    portable.request("rknn.infer", ENDLESS, 7)
    until_running(portable_daemon)
    assert portable.result("server.cancel", {"id": 7}, call_id=8) == {"cancelled": True}
    assert portable.final(7)["error"]["data"]["kind"] == "Cancelled"
    assert portable.infer(ENDS["inputs"])[0].tolist() == [1.0]
    assert is_well(portable_daemon)


def test_a_run_for_ever_ends_when_its_client_goes(portable_daemon: Daemon) -> None:
    with client(portable_daemon) as wire:
        wire.load(forever())
        wire.request("rknn.infer", ENDLESS)
        until_running(portable_daemon)
    until_nothing_is_held(portable_daemon)
    assert is_well(portable_daemon)


@pytest.mark.parametrize("method", ["rknn.wait", "rknn.outputs_get"])
def test_a_run_for_ever_that_does_not_block_ends_with_the_wait_for_it(
    portable: Client, portable_daemon: Daemon, method: str
) -> None:
    portable.load(forever())
    portable.result("rknn.run", {**ENDLESS, **NON_BLOCK})
    assert is_well(portable_daemon), "nobody else waits for it"
    refused = portable.refused(method, timeout_ms=200)
    assert refused["kind"] == "Timeout"
    assert portable.refused("rknn.outputs_get")["kind"] == "Cancelled", "it was stopped"
    assert portable.infer(ENDS["inputs"])[0].tolist() == [1.0]


def test_a_run_for_ever_that_does_not_block_ends_at_the_time_limit_of_its_call(
    portable: Client, portable_daemon: Daemon
) -> None:
    portable.load(forever())
    portable.result("rknn.run", {**ENDLESS, **NON_BLOCK}, timeout_ms=300)
    refused = portable.refused("rknn.wait")
    assert (refused["kind"], refused["limit_ms"]) == ("Timeout", 300)
    assert portable.infer(ENDS["inputs"])[0].tolist() == [1.0]
    assert is_well(portable_daemon)


def test_a_run_for_ever_that_does_not_block_ends_with_its_context_and_with_its_client(portable_daemon: Daemon) -> None:
    with client(portable_daemon) as wire:
        first = wire.load(forever())
        wire.result("rknn.run", {**ENDLESS, **NON_BLOCK})
        wire.result("rknn.destroy", {"context": first})
        wire.load(forever())
        wire.result("rknn.run", {**ENDLESS, **NON_BLOCK})
    until_nothing_is_held(portable_daemon)
    assert is_well(portable_daemon)


def test_a_call_that_waits_for_ones_own_run_may_be_cancelled_without_that(portable: Client) -> None:
    portable.load(forever())
    second = portable.load(floats())
    first = second - 1
    portable.result("rknn.run", {"context": first, **ENDLESS, **NON_BLOCK})
    pixels = tensor(np.zeros((1, 4, 4, 3), np.float32))
    refused = portable.refused("rknn.infer", {"context": second, "inputs": pixels}, timeout_ms=200)
    assert refused["kind"] == "Timeout"
    assert portable.refused("rknn.wait", {"context": first, "extend": {"timeout_ms": 1}})["status_name"] == (
        "RKNN_ERR_TIMEOUT"
    ), "it still runs"
    portable.result("rknn.destroy", {"context": first})
    assert portable.infer(pixels, second)[0].shape == (1, 2, 4, 4)


def test_a_load_whose_run_on_zeros_never_ends_can_be_stopped_or_awaited(
    portable: Client, portable_daemon: Daemon, tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(forever_on_zeros())
    assert portable.refused("rknn.init", {"model_path": str(model)}, timeout_ms=300)["kind"] == "Timeout"
    portable.request("rknn.init", {"model_path": str(model)}, 7)
    until("it loads", lambda: state(portable_daemon) == "loading")
    portable.result("server.cancel", {"id": 7}, call_id=8)
    assert portable.final(7)["error"]["data"]["kind"] == "Cancelled"
    assert held(portable_daemon)["contexts"] == []
    assert is_well(portable_daemon)

    portable.load(model)  # the shapes are not learnt then
    answered = portable.result("rknn.infer", {"inputs": [{"buf": GO}, {"buf": X}], "encoding": "array"})
    assert answered["outputs"][0]["data"] == [1.0]


def test_a_run_for_ever_between_tokens_lets_the_generation_go_on_when_its_client_goes(
    start: Callable[..., Daemon],
) -> None:
    daemon = start("--model", "demo", runtime="portable")
    with client(daemon) as talker, client(daemon) as wire:
        wire.load(forever())
        talker.request("rkllm.run_async", {"prompt": "What is an NPU?", "max_new_tokens": 200}, 1)
        first = talker.receive()
        assert "error" not in first, first
        wire.request("rknn.infer", ENDLESS, 2)
        wire.__exit__()
        messages: list[Any] = talker.until_final(1)
    assert messages[-1]["result"]["_callback_state"] == 2


def test_a_daemon_that_is_told_to_leave_leaves_in_a_run_for_ever(start: Callable[..., Daemon]) -> None:
    daemon = start(runtime="portable")
    with client(daemon) as wire:
        wire.load(forever())
        wire.request("rknn.infer", ENDLESS)
        until_running(daemon)
        assert daemon.stop() == 0
        assert wire.receive()["error"]["data"]["kind"] in ("Cancelled", "ShuttingDown")
    assert not daemon.events("npu_call_does_not_return")

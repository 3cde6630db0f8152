"""Runs: those that do not block, that fail, that take too long; all of both libraries one at a time; the end."""

from __future__ import annotations

import base64
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.rknn.board import BYTES, DIGITS, ECHO, TWO_SHAPES, Client, Simulator, b64, numbers, shared, tensor
from tests.simulator import trace
from tests.wire_connection import streamed

NON_BLOCK = {"non_block": 1}


# Runs that do not block


def test_a_run_that_does_not_block_ends_in_wait(simulator: Client, board: Simulator) -> None:
    simulator.load(ECHO)
    ended = len(board.seen("finished", "rknn_run"))
    with board.playing(run_us=100_000):
        begun = time.monotonic()
        run = simulator.result("rknn.run", {"input_data": b64(BYTES), "extend": NON_BLOCK})
        assert len(board.seen("finished", "rknn_run")) == ended, "it has only begun"
        waited = simulator.result("rknn.wait", {"extend": {"frame_id": run["frame_id"]}})
        assert waited["success"] is True
        assert time.monotonic() - begun >= 0.1
        assert len(board.seen("finished", "rknn_run")) == ended + 1
    assert numbers(simulator.result("rknn.outputs_get")["outputs"][0]).tobytes() == BYTES


def test_outputs_get_waits_too(simulator: Client) -> None:
    simulator.load(ECHO)
    simulator.result("rknn.run", {"input_data": b64(BYTES), "extend": NON_BLOCK})
    assert numbers(simulator.result("rknn.outputs_get")["outputs"][0]).tobytes() == BYTES


def test_the_portable_runtime_waits_as_well(portable: Client) -> None:
    portable.load(DIGITS)
    portable.result("rknn.run", {"input_data": b64(bytes(6912)), "extend": NON_BLOCK})
    assert portable.result("rknn.wait")["success"] is True
    assert numbers(portable.result("rknn.outputs_get")["outputs"][0]).shape == (1, 10)


@pytest.mark.parametrize("method", ["rknn.init", "rknn.infer", "rknn.matmul_create", "rknn.destroy"])
def test_others_calls_do_not_overlap_with_a_run_that_nobody_has_waited_for_yet(board: Simulator, method: str) -> None:
    params: dict[str, Any] = {
        "rknn.init": {"model": {"data": b64(ECHO)}},
        "rknn.infer": {"inputs": b64(BYTES)},
        "rknn.matmul_create": {"info": {"M": 1, "K": 32, "N": 32, "type": 2}},
        "rknn.destroy": {},
    }
    with board.client() as first, board.client() as second:
        first.load(ECHO)
        second.load(ECHO)
        since = len(board.daemon.trace())
        first.result("rknn.run", {"input_data": b64(BYTES), "extend": NON_BLOCK})
        second.result(method, params[method])
        assert first.result("rknn.wait")["success"] is True
        assert numbers(first.result("rknn.outputs_get")["outputs"][0]).tobytes() == BYTES
        assert trace.overlaps(board.daemon.trace()[since:]) == []


# Runs that fail


@pytest.mark.parametrize(
    ("run", "name", "status"), [("fail", "RKNN_ERR_FAIL", -1), ("timeout", "RKNN_ERR_TIMEOUT", -2)]
)
def test_a_run_that_fails_names_its_status_and_says_why(
    simulator: Client, board: Simulator, run: str, name: str, status: int
) -> None:
    simulator.load(ECHO)
    board.play({"run": run})
    for method, params in (("rknn.infer", {"inputs": b64(BYTES)}), ("rknn.run", {"input_data": b64(BYTES)})):
        refused = simulator.refused(method, params)
        assert (refused["kind"], refused["function"]) == ("RuntimeError", "rknn_run")
        assert (refused["status_name"], refused["status"]) == (name, status)
        assert any("failed to submit" in line for line in refused["log"])
    board.play({})
    assert simulator.infer(b64(BYTES))[0].tobytes() == BYTES


def test_a_run_that_takes_too_long_is_given_up(simulator: Client, board: Simulator) -> None:
    simulator.load(ECHO)
    with board.playing(run_us=600_000_000):
        params = {"input_data": b64(BYTES), "extend": {"timeout_ms": 50}}
        assert simulator.refused("rknn.run", params)["status_name"] == "RKNN_ERR_TIMEOUT"
    assert simulator.infer(b64(BYTES))[0].tobytes() == BYTES


def test_a_wait_that_takes_too_long_may_be_repeated(simulator: Client, board: Simulator) -> None:
    """The run's time begins before the wait's: a machine that stalls in between needs a longer run."""
    simulator.load(ECHO)
    for run_us in (200_000, 2_000_000, 20_000_000):
        with board.playing(run_us=run_us):
            simulator.result("rknn.run", {"input_data": b64(BYTES), "extend": NON_BLOCK})
            answer = simulator.ask("rknn.wait", {"extend": {"timeout_ms": 20}})
            if "error" in answer:
                break
    refused = answer["error"]["data"]
    assert (refused["function"], refused["status_name"]) == ("rknn_wait", "RKNN_ERR_TIMEOUT")
    assert simulator.result("rknn.wait")["success"] is True
    assert numbers(simulator.result("rknn.outputs_get")["outputs"][0]).tobytes() == BYTES


def test_a_run_that_fails_while_it_is_waited_for(simulator: Client, board: Simulator) -> None:
    simulator.load(ECHO)
    with board.playing(run="fail"):
        simulator.result("rknn.run", {"input_data": b64(BYTES), "extend": NON_BLOCK})
        refused = simulator.refused("rknn.wait")
    assert (refused["function"], refused["status_name"]) == ("rknn_wait", "RKNN_ERR_FAIL")
    assert simulator.infer(b64(BYTES))[0].tobytes() == BYTES


def test_wait_without_a_run_is_the_runtimes_to_judge(simulator: Client) -> None:
    simulator.load(ECHO)
    simulator.ask("rknn.wait")
    assert simulator.infer(b64(BYTES))[0].tobytes() == BYTES


# Shapes and memories


def test_shapes_of_a_model_are_set_with_memories_that_fit(simulator: Client) -> None:
    context = simulator.load(TWO_SHAPES)
    for side in (4, 8, 4):
        simulator.result("rknn.set_input_shapes", {"attr": [{"dims": [1, side, side, 3]}]})
        count = side * side * 3
        given = (np.arange(count) % 100).astype(np.int8)
        source, target = simulator.memory(context, given.tobytes()), simulator.memory(context, bytes(count))
        attr = {"name": "x", "pass_through": 1}
        assert simulator.result("rknn.set_io_mem", {"mem": source, "attr": attr})["size"] == count
        assert simulator.result("rknn.set_io_mem", {"mem": target, "attr": {"name": "y"}})["size"] == count
        simulator.result("rknn.run")
        assert simulator.contents(target) == given.tobytes()


def test_a_shape_that_the_model_has_not_is_refused(simulator: Client) -> None:
    simulator.load(TWO_SHAPES)
    refused = simulator.refused("rknn.set_input_shapes", {"attr": [{"dims": [1, 5, 5, 3]}]})
    assert (refused["kind"], refused["function"]) == ("RuntimeError", "rknn_set_input_shapes")
    given = np.zeros((1, 4, 4, 3), np.int8)
    assert simulator.infer(tensor(given))[0].size == 48


def test_inputs_have_the_size_of_the_shape_that_is_set(simulator: Client) -> None:
    simulator.load(TWO_SHAPES)
    simulator.result("rknn.set_input_shapes", {"attr": [{"dims": [1, 8, 8, 3]}]})
    refused = simulator.refused("rknn.infer", {"inputs": b64(bytes(48))})
    assert (refused["path"], refused["limit"]) == ("$.inputs", {"uint8": 192, "int8": 192, "float32": 768})
    simulator.result("rknn.set_input_shape", {"attr": {"dims": [1, 4, 4, 3]}})
    assert simulator.infer(b64(bytes(48)))[0].size == 48


# One at a time


def test_both_libraries_use_the_npu_one_at_a_time(own_simulator: Callable[..., Simulator]) -> None:
    # With trace_callbacks the judge knows when a token callback waits: RKNN calls may run then, and must be gone after.
    board = own_simulator(scenario="text=ab cd ef gh;pace_us=300;trace_callbacks=2", rknn={"run_us": 500})
    board.daemon.load()
    failures: list[str] = []

    def guarded(work: Callable[[Client], None]) -> threading.Thread:
        def run() -> None:
            try:
                with board.client() as wire:
                    work(wire)
            except BaseException as error:
                failures.append(f"{work.__name__}: {error!r}")

        return threading.Thread(target=run)

    def speak(wire: Client) -> None:
        for number in range(6):
            wire.request("rkllm.run_async", {"prompt": "Hi"}, number)
            assert streamed(wire.until_final(number)) == "ab cd ef gh"

    def see(wire: Client) -> None:
        wire.load(ECHO)
        for number in range(40):
            assert wire.infer(b64(bytes([number] * 8)))[0].tobytes() == bytes([number] * 8)

    def come_and_go(wire: Client) -> None:
        for _ in range(10):
            context = wire.load(ECHO)
            again = wire.result("rknn.dup_context", {"context_in": context})["context"]
            mem = wire.memory(context, BYTES)
            assert wire.infer({"mem": mem}, again)[0].tobytes() == BYTES
            wire.result("rknn.destroy", {"context": again})
            wire.result("rknn.destroy", {"context": context})

    def multiply(wire: Client) -> None:
        for _ in range(5):
            made = wire.result("rknn.matmul_create", {"info": {"M": 1, "K": 32, "N": 32, "type": 2}})
            for name, content in (("A", b"\1" * 32), ("B", b"\2" * 1024), ("C", bytes(128))):
                mem = wire.memory(made["context"], content)
                wire.result("rknn.matmul_set_io_mem", {"mem": mem, "attr": {"name": name}})
            wire.result("rknn.matmul_run")
            assert np.frombuffer(wire.contents(mem), np.int32).tolist() == [64] * 32
            wire.result("rknn.matmul_destroy")

    threads = [guarded(work) for work in (speak, speak, see, see, come_and_go, multiply)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    board.settle()
    assert board.daemon.calls("rknn_run") >= 90
    assert board.daemon.calls("rkllm_run_async") == 12
    assert board.daemon.faults() == []
    assert trace.overlaps(board.daemon.trace()) == []


# The end


def test_sigterm_releases_everything(own_simulator: Callable[..., Simulator]) -> None:
    board = own_simulator()
    with board.client() as wire, board.client() as other:
        first = wire.load(ECHO)
        wire.load(ECHO, keep=True)
        for context in (first, other.load(TWO_SHAPES)):
            (wire if context == first else other).memory(context, BYTES)
        other.result("rknn.matmul_create", {"info": {"M": 1, "K": 32, "N": 32, "type": 2}})
        with shared(BYTES) as fd:
            other.result("rknn.create_mem_from_fd", {"ctx": context, "fd": 0, "size": 8}, fds=[fd])
        wire.result("rknn.run", {"context": first, "input_data": b64(BYTES)})
        wire.result("rknn.outputs_get", {"context": first})
        wire.result("rknn.run", {"context": first, "extend": NON_BLOCK})
        assert board.daemon.stop(signal.SIGTERM) == 0
    assert set(trace.live(board.daemon.trace()).values()) == {0}
    assert board.daemon.calls("rknn_destroy") == 3
    assert trace.overlaps(board.daemon.trace()) == []


def test_sigterm_during_a_run_lets_it_end_and_answers_the_rest(own_simulator: Callable[..., Simulator]) -> None:
    board = own_simulator(rknn={"hold.rknn_run": 1})
    with board.client() as wire, board.client() as other:
        wire.load(ECHO)
        other.load(ECHO)
        wire.request("rknn.infer", {"inputs": b64(BYTES)})
        board.wait_enter("rknn_run")
        other.request("rknn.infer", {"inputs": b64(BYTES)})
        assert other.result("server.queue", call_id="queue")["length"] == 1
        board.daemon.process.send_signal(signal.SIGTERM)
        board.daemon.wait_event("stopping")
        board.daemon.let_go()
        assert base64.b64decode(wire.final(1)["result"]["outputs"][0]["data"]) == BYTES
        assert other.final(1)["error"]["data"]["kind"] == "ShuttingDown"
        assert board.daemon.wait_end() == 0
    assert set(trace.live(board.daemon.trace()).values()) == {0}


def test_sigterm_during_a_run_that_never_ends_leaves_in_time(own_simulator: Callable[..., Simulator]) -> None:
    board = own_simulator(rknn={"run": "hang"})
    with board.client() as wire:
        wire.load(ECHO)
        wire.request("rknn.infer", {"inputs": b64(BYTES)})
        board.wait_enter("rknn_run")
        board.daemon.process.send_signal(signal.SIGTERM)
        assert board.daemon.wait_end() == 0
    assert len(board.daemon.events("npu_call_does_not_return")) == 1

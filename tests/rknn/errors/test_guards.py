"""What a client can't make C do: read or write beside a memory, or in one that is gone, or another client's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, until
from tests.rknn.board import BYTES, Client, Simulator, b64, client, held

ECHO = b"RKNNSIM\ninput name=in type=uint8 dims=8\noutput name=out type=uint8 dims=8\n"
WIDE = b"RKNNSIM\ninput name=in type=int8 dims=1,6,4,3 fmt=nhwc\noutput name=out type=int8 dims=1,10\n"
WEIGHTS = b"RKNNSIM\ninput name=in type=uint8 dims=8\noutput name=out type=uint8 dims=8\nweights 64\ninternal 32\n"


def test_a_name_that_is_no_utf8_is_refused_and_harms_nobody(start: Callable[..., Daemon], tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    file = os.fsencode(tmp_path) + b"/m\xff.rknn"
    Path(os.fsdecode(file)).write_bytes(ECHO)
    link = tmp_path / "link.rknn"
    os.symlink(file, os.fsencode(link))
    daemon = start("--state-directory", str(state))
    with client(daemon) as wire:
        assert wire.refused("rknn.init", {"model_path": str(link)})["kind"] == "InvalidParams"
        assert wire.result("server.status")["contexts"] == []
        wire.load(ECHO)


def test_a_memory_that_a_running_model_uses_is_not_destroyed_before_it_is_done(
    own_simulator: Callable[..., Simulator],
) -> None:
    board = own_simulator(rknn={"run_us": 100_000})
    with board.client() as wire:
        context = wire.load(ECHO)
        output = wire.memory(context, bytes(8))
        wire.result("rknn.set_io_mem", {"mem": output, "attr": {"name": "out"}})
        wire.result("rknn.inputs_set", {"inputs": {"buf": b64(BYTES)}})
        wire.result("rknn.run", {"extend": {"non_block": 1}})
        wire.result("rknn.destroy_mem", {"mem": output})
        events = [line[2:4] for line in board.daemon.trace()]
        assert events.index(["finished", "rknn_run"]) < events.index(["enter", "rknn_destroy_mem"])


@pytest.mark.parametrize("which", ["weight", "internal"])
def test_a_context_whose_outside_memory_is_gone_does_not_run(simulator: Client, which: str) -> None:
    maker, user = simulator.load(WEIGHTS), simulator.load(WEIGHTS)
    mem = simulator.memory(maker, bytes(64))
    simulator.result(f"rknn.set_{which}_mem", {"ctx": user, "mem": mem})
    assert simulator.refused("rknn.destroy_mem", {"mem": mem})["limit"] == user
    again = simulator.result("rknn.dup_context", {"context_in": user})["context"]
    simulator.result("rknn.destroy", {"context": maker})  # and its memories
    for context in (user, again):
        assert simulator.refused("rknn.infer", {"context": context, "inputs": b64(BYTES)})["keyword"] == "mem"


def test_a_kept_memory_does_not_open_its_makers_context(board: Simulator) -> None:
    with board.client() as maker, board.client() as other:
        context = maker.load(ECHO)
        mem = maker.memory(context, bytes(8), keep=True)
        for params in ({"mem": mem, "attr": {"index": 0}}, {"ctx": context, "mem": mem, "attr": {"index": 0}}):
            assert other.refused("rknn.set_io_mem", params)["kind"] in ("NotYours", "ModelNotInitialized")
        assert other.contents(mem) == bytes(8), "the memory itself is for all"
        other.result("rknn.destroy_mem", {"mem": mem})


def test_a_matmuls_memory_does_not_stand_for_a_models_context(simulator: Client) -> None:
    made = simulator.result("rknn.matmul_create", {"M": 2, "K": 32, "N": 32, "type": 2})
    mem = simulator.memory(made["context"], bytes(64))
    for method, params in (
        ("rknn.set_internal_mem", {"mem": mem}),
        ("rknn.set_io_mem", {"mem": mem, "attr": {"index": 0}}),
    ):
        assert simulator.refused(method, params)["kind"] == "ModelNotInitialized"


@pytest.mark.parametrize(
    ("attr", "needed"),
    [
        ({"index": 0}, 72),
        ({"index": 0, "type": "RKNN_TENSOR_FLOAT32"}, 288),
        ({"index": 0, "h_stride": 12}, 144),
        ({"index": 0, "h_stride": 12, "fmt": "RKNN_TENSOR_NCHW"}, 144),
        ({"index": 0, "h_stride": 3}, 72),
    ],
)
def test_a_memory_is_as_large_as_the_layout_says(simulator: Client, attr: dict[str, Any], needed: int) -> None:
    context = simulator.load(WIDE)
    small = simulator.memory(context, bytes(needed - 1))
    assert simulator.refused("rknn.set_io_mem", {"mem": small, "attr": attr})["limit"] == needed


def test_a_stride_of_rows_needs_rows(simulator: Client) -> None:
    context = simulator.load(ECHO)
    mem = simulator.memory(context, bytes(64))
    refused = simulator.refused("rknn.set_io_mem", {"mem": mem, "attr": {"index": 0, "h_stride": 4}})
    assert (refused["kind"], refused["path"]) == ("InvalidParams", "$.attr.h_stride")


def test_an_output_is_got_once_a_call(simulator: Client) -> None:
    simulator.load(ECHO)
    simulator.infer(b64(BYTES))
    refused = simulator.refused("rknn.outputs_get", {"outputs": [{"index": 0}, {"index": 0}]})
    assert refused["keyword"] == "uniqueItems"


def test_the_end_of_one_run_is_not_that_of_the_next(own_simulator: Callable[..., Simulator]) -> None:
    board = own_simulator(rknn={"run_us": 50_000})
    with board.client() as wire:
        wire.load(ECHO)
        wire.result("rknn.inputs_set", {"inputs": {"buf": b64(BYTES)}})
        for _ in range(2):
            wire.result("rknn.run", {"extend": {"non_block": 1}})
        wire.result("rknn.wait")
        waits = [line for line in board.daemon.trace() if line[2:4] == ["enter", "rknn_wait"]]
        assert len(waits) == 2, "the first by the daemon, before the second run; the second for the client"


def test_what_is_kept_counts_among_all(own_simulator: Callable[..., Simulator]) -> None:
    board = own_simulator("--max-handles", "10")
    with board.client() as wire:
        context = wire.load(ECHO)
        mems = [wire.memory(context, bytes(8), keep=True) for _ in range(9)]
        refused = wire.refused("rknn.create_mem", {"ctx": context, "size": 8, "keep": True})
        assert refused["kind"] == "PermissionDenied"
        for mem in mems:
            wire.result("rknn.destroy_mem", {"mem": mem})


def test_what_is_made_between_tokens_goes_with_its_client(own_simulator: Callable[..., Simulator]) -> None:
    board = own_simulator(
        scenario="text=x ;repeat=200;tokens=words;pace_us=20000;trace_callbacks=2",
        rknn={"delay.rknn_create_mem": 400},
    )
    board.daemon.load(max_new_tokens=0)
    with board.client() as wire:
        kept = wire.load(ECHO, keep=True)
        wire.request("rkllm.run_async", {"prompt": "tell me"}, 1)
        assert wire.receive()["result"]["seq"] == 0
        leaving = client(board.daemon)
        leaving.request("rknn.create_mem", {"ctx": kept, "size": 64}, 2)
        board.daemon.wait_enter("rknn_create_mem")
        leaving.socket.close()
        wire.until_final(1)
        until("the memory is gone", lambda: held(board.daemon)["memories"] == [])
        wire.result("rknn.destroy", {"context": kept})


def test_a_picture_in_another_order_is_refused(simulator: Client) -> None:
    simulator.load(WIDE)
    data = {"data": b64(bytes(72)), "dtype": "uint8"}
    refused = simulator.refused("rknn.infer", {"inputs": {**data, "shape": [3, 6, 4]}})
    assert (refused["keyword"], refused["limit"]) == ("shape", [1, 6, 4, 3])
    assert "RKNN_TENSOR_NHWC" in refused["message"]
    for shape in ([1, 6, 4, 3], [6, 4, 3], [72], [6, 12]):
        simulator.infer({**data, "shape": shape})
    simulator.infer([{"buf": {**data, "shape": [1, 3, 6, 4]}, "fmt": "RKNN_TENSOR_NCHW"}])


def test_a_memory_is_written_and_read_as_numbers(simulator: Client) -> None:
    context = simulator.load(ECHO)
    mem = simulator.memory(context, bytes(16))
    write = {"mem": mem, "mode": "RKNN_MEMORY_SYNC_TO_DEVICE", "dtype": "float32", "data": [1.5, -2, 0, 3]}
    simulator.result("rknn.mem_sync", write)
    read = {"mem": mem, "mode": "RKNN_MEMORY_SYNC_FROM_DEVICE", "read": True, "dtype": "float32", "encoding": "array"}
    assert simulator.result("rknn.mem_sync", read)["data"] == [1.5, -2, 0, 3]
    assert simulator.refused("rknn.mem_sync", {**read, "size": 6})["keyword"] == "multipleOf"


def test_the_name_of_a_flag_is_enough(simulator: Client) -> None:
    context = simulator.load(ECHO, flag="RKNN_FLAG_COLLECT_PERF_MASK")
    simulator.result("rknn.create_mem2", {"ctx": context, "size": 64, "alloc_flags": "RKNN_FLAG_MEMORY_CACHEABLE"})


def test_c_is_given_a_context_for_a_memory_that_has_none(simulator: Client) -> None:
    first = simulator.load(ECHO)
    made = {"ctx": first, "size": 8, "alloc_flags": "RKNN_MEM_FLAG_ALLOC_NO_CONTEXT"}
    free = {"mem": simulator.result("rknn.create_mem2", made)["mem"], "mode": "RKNN_MEMORY_SYNC_TO_DEVICE"}
    simulator.result("rknn.mem_sync", free)
    second = simulator.load(ECHO)
    assert simulator.refused("rknn.mem_sync", free)["kind"] == "AmbiguousHandle"
    simulator.result("rknn.mem_sync", {**free, "context": second})
    for context in (first, second):
        simulator.result("rknn.destroy", {"context": context})
    assert simulator.refused("rknn.mem_sync", free)["kind"] == "ModelNotInitialized"
    simulator.result("rknn.destroy_mem", {"mem": free["mem"]})
    simulator.load(ECHO)  # by which it is freed


def test_c_never_gets_0_for_a_context(start: Callable[..., Daemon]) -> None:
    daemon = start()
    with client(daemon) as wire:
        made = {"size": 8, "alloc_flags": "RKNN_MEM_FLAG_ALLOC_NO_CONTEXT"}
        assert wire.refused("rknn.create_mem2", made)["kind"] == "ModelNotInitialized"
        for freed in (0, 1):
            context = wire.load(ECHO)
            mem = wire.result("rknn.create_mem2", made)["mem"]
            wire.result("rknn.destroy", {"context": context})
            wire.result("rknn.destroy_mem", {"mem": mem})
            assert wire.refused("rknn.destroy_mem", {"mem": mem})["kind"] == "InvalidHandle"
            assert daemon.calls("rknn_destroy_mem") == freed, "there is no context to destroy it by"
        matmul = {"M": 4, "K": 32, "N": 32, "type": "RKNN_INT8_MM_INT8_TO_INT32"}
        wire.result("rknn.matmul_create", {"info": matmul})
        assert daemon.calls("rknn_destroy_mem") == 2
    with_memory = {"rknn_create_mem2", "rknn_destroy_mem"}
    contexts = [int(value) for _, _, event, name, value in daemon.trace() if event == "enter" and name in with_memory]
    assert len(contexts) == 4
    assert 0 not in contexts

"""Who owns contexts and memories, how long they live, and who may destroy them (protocol, section 3)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.daemon import until
from tests.rknn.board import BYTES, ECHO, NOTHING, TWO_SHAPES, Client, Simulator, b64, held, numbers
from tests.rknn.lifetimes.waiting import INFO, SYNC, ended, until_held

# A connection's own


def test_what_a_connection_made_goes_with_it_memories_first(board: Simulator) -> None:
    with board.client() as wire:
        contexts = [wire.load(ECHO), wire.load(TWO_SHAPES)]
        wire.result("rknn.dup_context", {"context_in": contexts[0]})
        matmul = wire.result("rknn.matmul_create", {"info": INFO})["context"]
        for parent in (*contexts, matmul):
            wire.memory(parent, BYTES)
        wire.result("rknn.create_mem2", {"ctx": contexts[0], "size": 8, "alloc_flags": 0x20000})
        since = len(board.daemon.trace())
    board.settle()
    assert ended(board, since) == ["rknn_destroy_mem"] * 4 + ["rknn_matmul_destroy"] + ["rknn_destroy"] * 3


def test_others_keep_what_is_theirs(board: Simulator) -> None:
    with board.client() as stays:
        context = stays.load(ECHO)
        mem = stays.memory(context, BYTES)
        with board.client() as leaves:
            leaves.memory(leaves.load(ECHO), BYTES)
        until_held(board, {"contexts": 1, "memories": 1})
        assert stays.infer({"mem": mem}, context)[0].tobytes() == BYTES


def test_outputs_that_were_not_released_are_released(board: Simulator) -> None:
    with board.client() as wire:
        wire.load(ECHO)
        wire.result("rknn.run", {"input_data": b64(BYTES)})
        wire.result("rknn.outputs_get")
        since = len(board.daemon.trace())
    board.settle()
    assert ended(board, since) == ["rknn_outputs_release", "rknn_destroy"]


def test_a_run_that_nobody_waited_for_is_waited_for(board: Simulator) -> None:
    with board.client() as wire:
        wire.load(ECHO)
        wire.result("rknn.run", {"input_data": b64(BYTES), "extend": {"non_block": 1}})
        since = len(board.daemon.trace())
    board.settle()
    assert ended(board, since) == ["rknn_wait", "rknn_destroy"]


def test_handles_are_never_used_twice(simulator: Client) -> None:
    seen = []
    for _ in range(3):
        context = simulator.load(ECHO)
        seen += [context, simulator.memory(context, BYTES)]
        simulator.result("rknn.destroy", {"context": context})
    assert seen == sorted(set(seen))


# Kept


def test_what_is_kept_outlives_its_maker_and_is_everybodys(board: Simulator) -> None:
    with board.client() as maker:
        context = maker.load(ECHO, keep=True)
        again = maker.result("rknn.dup_context", {"context_in": context, "keep": True})["context"]
        matmul = maker.result("rknn.matmul_create", {"info": INFO, "keep": True})["context"]
        mem = maker.memory(context, BYTES, keep=True)
        maker.memory(context, BYTES)
    until_held(board, {"contexts": 2, "matmuls": 1, "memories": 1})
    with board.client() as other, board.client() as third:
        assert other.infer({"mem": mem}, context)[0].tobytes() == BYTES
        assert third.infer(b64(BYTES), again)[0].tobytes() == BYTES
        assert third.contents(mem) == BYTES
        other.memory(matmul, BYTES)
        for wire, method, params in (
            (third, "rknn.destroy_mem", {"mem": mem}),
            (other, "rknn.destroy", {"context": context}),
            (third, "rknn.destroy", {"context": again}),
            (third, "rknn.matmul_destroy", {"ctx": matmul}),
        ):
            assert wire.result(method, params)["success"] is True
    board.settle()


def test_a_kept_context_goes_with_the_memories_of_all(board: Simulator) -> None:
    with board.client() as maker, board.client() as other:
        context = maker.load(ECHO, keep=True)
        mine, theirs = maker.memory(context, BYTES), other.memory(context, BYTES)
        maker.result("rknn.destroy", {"context": context})
        assert held(board.daemon) == NOTHING
        for wire, mem in ((maker, mine), (other, theirs)):
            assert wire.refused("rknn.mem_sync", {"mem": mem, **SYNC})["kind"] == "InvalidHandle"


def test_a_kept_memory_that_is_destroyed_is_refused_to_the_call_that_waits_for_it(board: Simulator) -> None:
    with board.client() as busy, board.client() as destroyer, board.client() as user:
        kept = busy.load(ECHO, keep=True)
        mem = busy.memory(kept, BYTES, keep=True)
        mine = user.load(ECHO)
        with board.playing(hold__rknn_run=1):
            entered = board.daemon.calls("rknn_run")
            busy.request("rknn.infer", {"context": kept, "inputs": b64(BYTES)})
            board.wait_enter("rknn_run", entered + 1)
            destroyer.request("rknn.destroy_mem", {"mem": mem})
            until("the memory's end is queued", lambda: destroyer.result("server.queue", call_id="q")["length"] == 1)
            user.request("rknn.infer", {"context": mine, "inputs": {"mem": mem}}, "infer")
            user.request("rknn.mem_sync", {"mem": mem, **SYNC}, "sync")
            assert user.result("server.queue", call_id="queue")["length"] == 3, "all passed the first look"
        assert destroyer.final(1)["result"]["success"] is True
        for call in ("infer", "sync"):
            refused = user.final(call)["error"]["data"]
            assert (refused["kind"], refused["handle"]) == ("InvalidHandle", mem)
        assert user.infer(b64(BYTES), mine)[0].tobytes() == BYTES
        assert "result" in busy.final(1)
        busy.result("rknn.destroy", {"context": kept})


def test_a_kept_context_that_is_destroyed_is_refused_to_the_call_that_waits_for_it(board: Simulator) -> None:
    with board.client() as busy, board.client() as destroyer, board.client() as user:
        kept, mine = busy.load(ECHO, keep=True), busy.load(ECHO)
        with board.playing(hold__rknn_run=1):
            entered = board.daemon.calls("rknn_run")
            busy.request("rknn.infer", {"context": mine, "inputs": b64(BYTES)})
            board.wait_enter("rknn_run", entered + 1)
            destroyer.request("rknn.destroy", {"context": kept})
            until("the context's end is queued", lambda: destroyer.result("server.queue", call_id="q")["length"] == 1)
            user.request("rknn.infer", {"context": kept, "inputs": b64(BYTES)}, "infer")
            user.request("rknn.create_mem", {"ctx": kept, "size": 8}, "memory")
            assert user.result("server.queue", call_id="queue")["length"] == 3, "all passed the first look"
        for call in ("infer", "memory"):
            refused = user.final(call)["error"]["data"]
            assert (refused["kind"], refused["handle"]) == ("InvalidHandle", kept)
        assert destroyer.final(1)["result"]["success"] is True
        assert "result" in busy.final(1)


# Destroyed by name


def test_a_context_is_destroyed_with_its_memories(simulator: Client, board: Simulator) -> None:
    context = simulator.load(ECHO)
    memories = [simulator.memory(context, BYTES) for _ in range(3)]
    simulator.result("rknn.set_io_mem", {"mem": memories[0], "attr": {"name": "x"}})
    since = len(board.daemon.trace())
    simulator.result("rknn.destroy", {"context": context})
    assert ended(board, since) == ["rknn_destroy_mem"] * 3 + ["rknn_destroy"]
    for mem in memories:
        assert simulator.refused("rknn.mem_sync", {"mem": mem, **SYNC})["kind"] == "InvalidHandle"


@pytest.mark.parametrize("tensor_name", ["x", "y"])
def test_a_run_with_a_bound_memory_that_is_gone_is_refused(
    simulator: Client, board: Simulator, tensor_name: str
) -> None:
    context = simulator.load(ECHO)
    mem = simulator.memory(context, BYTES)
    attr = {"name": tensor_name}
    simulator.result("rknn.set_io_mem", {"mem": mem, "attr": attr})
    simulator.result("rknn.destroy_mem", {"mem": mem})
    runs = board.daemon.calls("rknn_run")
    refused = simulator.refused("rknn.run", {"input_data": b64(BYTES)})
    assert (refused["kind"], refused["keyword"]) == ("InvalidParams", "mem")
    assert "destroyed" in refused["message"]
    assert board.daemon.calls("rknn_run") == runs, "the runtime does not see it"
    again = simulator.memory(context, BYTES)
    simulator.result("rknn.set_io_mem", {"mem": again, "attr": attr})
    simulator.result("rknn.run", {"input_data": b64(BYTES)} if tensor_name == "y" else None)
    if tensor_name == "y":
        assert simulator.contents(again) == BYTES


def test_a_matmul_with_a_memory_that_is_gone_is_refused(simulator: Client) -> None:
    made = simulator.result("rknn.matmul_create", {"info": INFO})
    memories = {}
    for letter in "ABC":
        mem = memories[letter] = simulator.memory(made["context"], bytes(made["io_attr"][letter]["size"]))
        simulator.result("rknn.matmul_set_io_mem", {"mem": mem, "attr": {"name": letter}, "ctx": made["context"]})
    simulator.result("rknn.matmul_run")
    simulator.result("rknn.destroy_mem", {"mem": memories["B"]})
    refused = simulator.refused("rknn.matmul_run")
    assert (refused["kind"], refused["keyword"], refused["limit"]) == ("InvalidParams", "mem", 1024)
    assert refused["message"].startswith("B is bound to no memory")


# Who leaves in between


def test_a_whole_script_may_be_sent_in_one_go(simulator: Client) -> None:
    """Without handles: what each stands for is known when its turn comes."""
    calls: list[tuple[str, Any]] = [
        ("rknn.init", {"model": {"data": b64(ECHO)}}),
        ("rknn.query", {"cmd": "RKNN_QUERY_CURRENT_NATIVE_OUTPUT_ATTR"}),
        ("rknn.create_mem", {"size": 8}),
        ("rknn.inputs_set", {"inputs": [{"buf": b64(BYTES)}]}),
        ("rknn.run", None),
        ("rknn.outputs_get", None),
        ("rknn.outputs_release", None),
        ("rknn.infer", {"inputs": b64(BYTES[::-1])}),
        ("rknn.destroy", None),
        ("rknn.run", None),
        ("rknn.init", {"model": {"data": b64(ECHO)}}),
        ("rknn.infer", {"inputs": b64(BYTES)}),
    ]
    lines = []
    for number, (method, params) in enumerate(calls):
        message = {"jsonrpc": "2.0", "id": number, "method": method} | ({} if params is None else {"params": params})
        lines.append(json.dumps(message))
    simulator.send(("\n".join(lines) + "\n").encode())
    answers: dict[int, Any] = {}
    while len(answers) < len(calls):
        answer = simulator.receive()
        answers[answer["id"]] = answer
    failed = {number: answer["error"]["data"]["kind"] for number, answer in answers.items() if "error" in answer}
    # An instant method says what is so now, and now nothing is loaded.
    assert failed in ({9: "ModelNotInitialized"}, {1: "ModelNotInitialized", 9: "ModelNotInitialized"})
    assert numbers(answers[5]["result"]["outputs"][0]).tobytes() == BYTES
    assert numbers(answers[7]["result"]["outputs"][0]).tobytes() == BYTES[::-1]
    assert numbers(answers[11]["result"]["outputs"][0]).tobytes() == BYTES

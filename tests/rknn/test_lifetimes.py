"""Who owns what, how long it lives, and that nothing remains of a client that left (protocol, section 3)."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from onnx import TensorProto

from tests.daemon import until
from tests.portable.rknn.models import identity
from tests.rknn.board import ECHO, NOTHING, TWO_SHAPES, Client, Simulator, b64, held, numbers, shared

BYTES = bytes(range(8))
INFO = {"M": 1, "K": 32, "N": 32, "type": "RKNN_INT8_MM_INT8_TO_INT32"}
SHAPE = {"M": 1, "K": 32, "N": 32}
SYNC = {"mode": 1}


def until_held(board: Simulator, wanted: dict[str, int]) -> None:
    """Wait until server.status counts this many of each kind."""

    def counted() -> bool:
        found = held(board.daemon)
        return all(len(found[name]) == wanted.get(name, 0) for name in NOTHING)

    until(f"{wanted} in server.status", counted)


def ended(board: Simulator, since: int) -> list[str]:
    """Return the functions that end something, in the order of their calls, from this line of the trace on."""
    ending = ("rknn_destroy", "rknn_destroy_mem", "rknn_matmul_destroy", "rknn_outputs_release", "rknn_wait")
    return [line[3] for line in board.daemon.trace()[since:] if line[2] == "enter" and line[3] in ending]


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


def test_a_client_that_leaves_while_its_model_loads_leaves_nothing(board: Simulator) -> None:
    loads = board.daemon.calls("rknn_init")
    with board.client() as other:
        other.load(ECHO)
        with board.playing(hold__rknn_init=1):
            with board.client() as wire:
                wire.request("rknn.init", {"model": {"data": b64(ECHO)}}, 1)
                wire.request("rknn.init", {"model": {"data": b64(ECHO)}}, 2)
                board.wait_enter("rknn_init", loads + 2)
                assert wire.result("server.queue", call_id="queue")["length"] == 1

            def waiting() -> set[str]:
                return {entry["method"] for entry in other.result("server.queue")["queue"]}

            until("what waited is gone", lambda: "rknn.init" not in waiting())
        assert other.infer(b64(BYTES))[0].tobytes() == BYTES
        until_held(board, {"contexts": 1})
    board.settle()
    assert board.daemon.calls("rknn_init") == loads + 2, "what waited was not begun"


def test_a_kept_model_stays_when_its_loader_leaves_during_the_load(board: Simulator) -> None:
    loads = board.daemon.calls("rknn_init")
    with board.playing(hold__rknn_init=1), board.client() as wire:
        wire.request("rknn.init", {"model": {"data": b64(ECHO)}, "keep": True})
        board.wait_enter("rknn_init", loads + 1)
    until_held(board, {"contexts": 1})
    with board.client() as other:
        assert other.infer(b64(BYTES))[0].tobytes() == BYTES
        other.result("rknn.destroy")


def test_a_load_that_is_cancelled_is_undone(simulator: Client, board: Simulator) -> None:
    loads = board.daemon.calls("rknn_init")
    with board.playing(hold__rknn_init=1):
        simulator.request("rknn.init", {"model": {"data": b64(ECHO)}}, "load")
        board.wait_enter("rknn_init", loads + 1)
        assert simulator.result("server.cancel", {"id": "load"}, call_id="stop") == {"cancelled": True}
        board.daemon.let_go()
        assert simulator.final("load")["error"]["data"]["kind"] == "Cancelled"
    assert held(board.daemon) == NOTHING
    board.settle()


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


# A script of calls that is cut after each of them

State = dict[str, Any]
Step = Callable[[Client, State, bool], None]


def call(method: str, params: Callable[[State], Any], keep: str = "", fds: int = 0, **members: Any) -> Step:
    """Return a step: send the call, and unless it is the last one that is cut off, read its answer."""

    def step(wire: Client, state: State, is_answered: bool) -> None:
        wire.request(method, params(state), fds=state["fds"][:fds], **members)
        if is_answered:
            answer = wire.final(1)
            assert "result" in answer, (method, answer)
            if keep:
                state[keep] = answer["result"].get("mem", answer["result"].get("context"))

    return step


SCRIPT: list[Step] = [
    call("rknn.init", lambda s: {"model": {"data": b64(ECHO)}}, keep="ctx"),
    call("rknn.init", lambda s: {"model": {"fd": 0}}, keep="other", fds=1),
    call("rknn.dup_context", lambda s: {"context_in": s["ctx"]}, keep="again"),
    call("rknn.create_mem", lambda s: {"ctx": s["ctx"], "size": 8}, keep="in"),
    call("rknn.create_mem", lambda s: {"ctx": s["ctx"], "size": 8}, keep="out", reply_fds=True),
    call("rknn.create_mem2", lambda s: {"ctx": s["ctx"], "size": 8, "alloc_flags": 0x20000}),
    call("rknn.create_mem_from_fd", lambda s: {"ctx": s["ctx"], "fd": 0, "size": 8, "offset": 8}, fds=1),
    call("rknn.create_mem_from_mb_blk", lambda s: {"ctx": s["other"], "mb_blk": 0}, fds=1),
    call("rknn.mem_sync", lambda s: {"mem": s["in"], "mode": 1, "data": b64(BYTES)}),
    call("rknn.mem_sync", lambda s: {"mem": s["in"], "mode": 2, "read": True}, reply_fds=True),
    call("rknn.set_io_mem", lambda s: {"ctx": s["ctx"], "mem": s["in"], "attr": {"name": "x"}}),
    call("rknn.set_io_mem", lambda s: {"ctx": s["ctx"], "mem": s["out"], "attr": {"name": "y"}}),
    call("rknn.run", lambda s: {"context": s["ctx"]}),
    call("rknn.inputs_set", lambda s: {"context": s["again"], "inputs": {"buf": {"mem": s["in"]}}}),
    call("rknn.run", lambda s: {"context": s["again"], "extend": {"non_block": 1}}),
    call("rknn.wait", lambda s: {"context": s["again"]}),
    call("rknn.outputs_get", lambda s: {"context": s["again"]}, reply_fds=True),
    call("rknn.infer", lambda s: {"context": s["other"], "inputs": {"fd": 1, "size": 8}}, fds=2, reply_fds=True),
    call("rknn.matmul_create", lambda s: {"info": INFO}, keep="matmul"),
    call("rknn.create_mem", lambda s: {"ctx": s["matmul"], "size": 32}, keep="A"),
    call("rknn.matmul_set_io_mem", lambda s: {"ctx": s["matmul"], "mem": s["A"], "attr": {"name": "A"}}),
    call("rknn.run", lambda s: {"context": s["other"], "input_data": b64(BYTES), "extend": {"non_block": 1}}),
    call("rknn.wait", lambda s: {"context": s["other"]}),
    call("rknn.destroy_mem", lambda s: {"mem": s["in"]}),
    call("rknn.matmul_destroy", lambda s: {"ctx": s["matmul"]}),
    call("rknn.destroy", lambda s: {"context": s["ctx"]}),
]


@pytest.mark.parametrize("is_answered", [True, False], ids=["answered", "unanswered"])
@pytest.mark.parametrize("cut", range(1, len(SCRIPT) + 1))
def test_a_client_that_is_cut_off_leaves_nothing(board: Simulator, cut: int, is_answered: bool) -> None:
    board.settle()
    files = board.daemon.open_files()
    with shared(ECHO) as model, shared(BYTES) as second, board.client() as wire:
        state: State = {"fds": [model, second]}
        for number, step in enumerate(SCRIPT[:cut], 1):
            step(wire, state, is_answered or number < cut)
    until("no client but who asks", lambda: clients(board) == 1)
    board.settle()
    until(f"{files} open files as before", lambda: board.daemon.open_files() <= files)


def clients(board: Simulator) -> int:
    with board.client() as wire:
        return int(wire.result("server.status")["clients"])


def test_the_script_has_its_effect(board: Simulator) -> None:
    with shared(ECHO) as model, shared(BYTES) as second, board.client() as wire:
        state: State = {"fds": [model, second]}
        for number, step in enumerate(SCRIPT, 1):
            step(wire, state, True)
            if number == 13:
                assert wire.contents(state["out"]) == BYTES


# Makes what a client makes and says so on stdout when it has been sent; then waits to be killed.
KILLED = """
import socket, sys
wire = socket.socket(socket.AF_UNIX)
wire.connect(sys.argv[1])
wire.sendall(sys.argv[2].encode())
print("sent", flush=True)
if sys.argv[3] == "read":
    seen = b""
    while seen.count(b"\\n") < sys.argv[2].count("\\n"):
        seen += wire.recv(65536)
    print("read", flush=True)
wire.recv(1 << 30) and sys.stdin.read()
"""


def test_kill_9_leaves_nothing(board: Simulator) -> None:
    model = base64.b64encode(ECHO).decode()
    calls: list[tuple[str, Any]] = [
        ("rknn.init", {"model": {"data": model}}),
        ("rknn.create_mem", {"size": 4096}),
        ("rknn.infer", {"inputs": b64(BYTES)}),
        ("rknn.run", {"input_data": b64(BYTES)}),
        ("rknn.outputs_get", {}),
        ("rknn.run", {"input_data": b64(BYTES), "extend": {"non_block": 1}}),
    ]
    lines = [
        json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}) + "\n"
        for number, (method, params) in enumerate(calls)
    ]
    board.settle()
    files = board.daemon.open_files()
    with board.playing(run_us=20_000):
        for mode in ("read", "send"):
            processes = [
                subprocess.Popen(
                    [sys.executable, "-S", "-c", KILLED, board.daemon.path, "".join(lines[:count]), mode],
                    stdout=subprocess.PIPE,
                    stdin=subprocess.PIPE,
                )
                for count in range(1, len(lines) + 1)
            ]
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == b"sent\n"
                if mode == "read" and process is not processes[-1]:
                    assert process.stdout.readline() == b"read\n"
            for process in processes:
                process.send_signal(signal.SIGKILL)
            for process in processes:
                process.communicate()
            until("no client but who asks", lambda: clients(board) == 1)
            board.settle()
    until(f"{files} open files as before", lambda: board.daemon.open_files() <= files)


def test_many_cycles_leave_no_descriptor_and_no_memory(portable_daemon: Any, portable: Client) -> None:
    model = identity(TensorProto.UINT8, [8])
    files: list[int] = []
    for _ in range(8):
        context = portable.load(model)
        with shared(BYTES) as fd:
            made = portable.result("rknn.create_mem_from_fd", {"ctx": context, "fd": 0, "size": 8}, fds=[fd])
        portable.result("rknn.set_io_mem", {"ctx": context, "mem": made["mem"], "attr": {"name": "x"}})
        portable.result("rknn.run", {"context": context})
        mem = portable.memory(context, BYTES)
        portable.infer({"mem": mem}, context)
        portable.result("rknn.destroy_mem", {"mem": mem})
        portable.result("rknn.destroy", {"context": context})
        assert held(portable_daemon) == NOTHING
        files.append(portable_daemon.open_files())
    # The checking connections come and go.
    assert max(files[2:]) <= files[1] + 1, files


def test_a_mapped_model_is_let_go_with_its_context(board: Simulator) -> None:
    files = board.daemon.open_files()
    with shared(ECHO) as fd, board.client() as wire:
        for flag in ([], ["RKNN_FLAG_MODEL_BUFFER_ZERO_COPY"]):
            for _ in range(5):
                params = {"model": {"fd": 0}, "flag": flag}
                context = wire.result("rknn.init", params, fds=[fd])["context"]
                assert wire.infer(b64(BYTES), context)[0].tobytes() == BYTES
                wire.result("rknn.destroy", {"context": context})
            until("no descriptor is left open", lambda: board.daemon.open_files() <= files + 1)


@pytest.mark.parametrize("method", ["rknn.inputs_set", "rknn.infer", "rknn.mem_sync", "rknn.outputs_get"])
def test_a_tensors_descriptor_is_let_go_with_its_call(simulator: Client, board: Simulator, method: str) -> None:
    context = simulator.load(ECHO)
    mem = simulator.memory(context, BYTES)
    simulator.infer(b64(BYTES))
    params: dict[str, Any] = {
        "rknn.inputs_set": {"inputs": {"buf": {"fd": 0}}},
        "rknn.infer": {"inputs": {"fd": 0}},
        "rknn.mem_sync": {"mem": mem, "mode": 1, "data": {"fd": 0}},
        "rknn.outputs_get": {"outputs": [{"is_prealloc": True, "buf": {"fd": 0}}]},
    }
    files = board.daemon.open_files()
    with shared(BYTES) as fd:
        for _ in range(5):
            simulator.result(method, params[method], fds=[fd])
            simulator.refused(method, params[method])
            wrong = {"inputs": {"fd": 0}, "top_k": 0} if method == "rknn.infer" else {"colour": 1}
            simulator.refused(method, wrong, fds=[fd])
    simulator.result("rknn.infer", {"inputs": b64(BYTES)})
    until("no descriptor is left open", lambda: board.daemon.open_files() <= files)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("rknn.init", {"model": {"data": b64(ECHO)}}),
        ("rknn.dup_context", {}),
        ("rknn.create_mem", {"size": 8}),
        ("rknn.create_mem2", {"size": 8}),
        ("rknn.create_mem_from_fd", {"fd": 0, "size": 8}),
        ("rknn.matmul_create", {"info": INFO}),
        ("rknn.matmul_create_dynamic_shape", {"info": {"type": INFO["type"]}, "dynamic_shapes": [SHAPE]}),
    ],
)
@pytest.mark.parametrize("way", ["Timeout", "Cancelled"])
def test_what_is_made_for_a_call_that_was_given_up_is_undone(
    own_simulator: Callable[..., Simulator], method: str, params: dict[str, Any], way: str
) -> None:
    """Nobody learns its handle: if it were kept, it would stay for as long as the daemon."""
    function = method.replace(".", "_")
    board = own_simulator("--grace-ms", "20")
    with board.client() as wire, shared(BYTES) as fd:
        context = wire.load(ECHO)
        board.play({f"hold.{function}": 1})
        if "mem" in method:
            params = {**params, "ctx": context}
        members = {"timeout_ms": 1} if way == "Timeout" else {}
        since = board.daemon.calls(function)
        wire.request(method, {**params, "keep": True}, "made", fds=[fd] if "fd" in method else [], **members)
        board.wait_enter(function, since + 1)
        if way == "Cancelled":
            assert wire.result("server.cancel", {"id": "made"}) == {"cancelled": True}
            board.daemon.let_go()
        assert wire.final("made")["error"]["data"]["kind"] == way
        board.daemon.let_go()
        until("an idle daemon", lambda: wire.result("server.status")["state"] == "idle")
        until_held(board, {"contexts": 1})

"""Nothing remains of a client that is cut off, that was killed, or that has given a call up."""

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
from tests.portable.rknn.graphs import identity
from tests.rknn.board import BYTES, ECHO, NOTHING, Client, Simulator, b64, held, shared
from tests.rknn.lifetimes.waiting import INFO, SHAPE, until_held

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

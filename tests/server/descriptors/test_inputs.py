"""What the daemon does with descriptors that came, and that all of them go."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import until
from tests.server.descriptors.tensors import (
    MOST,
    SIZE,
    FdWire,
    closing,
    in_base64,
    line,
    memfd,
    output,
    picture,
    refused,
    settle,
)
from tests.wire_connection import kind

O_CLOEXEC = 0o2000000


@pytest.mark.parametrize("index", [-1, 1, 2**63, True, "0", 0.5, None, [0]])
def test_an_index_counts_what_came(serve: Any, index: Any) -> None:
    daemon, context = serve()
    with FdWire(daemon.path) as wire, closing(memfd(picture(1))) as fds:
        answer = wire.call("rknn.infer", {"context": context, "inputs": {"fd": index}}, fds)
        assert refused(answer) == "$.inputs.fd counts the descriptors that came with the request, from 0; 1 came."
        assert "result" in wire.ask("server.queue")


@pytest.mark.parametrize(
    "span",
    [
        {"offset": 1},
        {"offset": SIZE},
        {"offset": -1},
        {"size": SIZE + 1},
        {"size": 0},
        {"size": -1},
        {"offset": 2**63},
        {"size": 2**64},
        {"offset": 0.0},
        {"size": True},
        {"size": "48"},
        {"offset": 1, "size": SIZE},
    ],
    ids=str,
)
def test_offset_and_size_lie_within_the_file(serve: Any, span: dict[str, Any]) -> None:
    daemon, context = serve()
    with FdWire(daemon.path) as wire, closing(memfd(picture(1))) as fds:
        answer = wire.call("rknn.infer", {"context": context, "inputs": {"fd": 0, **span}}, fds)
        assert refused(answer).startswith("$.inputs")


def test_a_part_of_a_file(serve: Any) -> None:
    daemon, context = serve()
    with FdWire(daemon.path) as wire, closing(memfd(b"x" * 4097 + picture(9) + b"x")) as fds:
        part = {"fd": 0, "offset": 4097, "size": SIZE, "dtype": "uint8", "shape": [1, 4, 4, 3]}
        assert output(wire.call("rknn.infer", {"context": context, "inputs": part}, fds)) == in_base64(picture(9))


def test_a_model_of_four_gibibytes_is_not_taken_for_a_path(serve: Any) -> None:
    """C's size is 32 bits wide, and size 0 says that the bytes are a path: of any file, whatever is allowed."""
    daemon, _ = serve()
    path = str(daemon.directory / "copy.rknn").encode()
    with FdWire(daemon.path) as wire, closing(memfd(path + b"\0", size=1 << 32)) as fds:
        assert kind(wire.call("rknn.init", {"model": {"fd": 0}}, fds)) == "InvalidParams"


def test_an_empty_model_is_not_taken_for_a_path(serve: Any) -> None:
    with FdWire(serve()[0].path) as wire:
        assert kind(wire.ask("rknn.init", {"model": {"data": ""}})) == "InvalidParams"


def test_received_descriptors_are_closed_on_exec(serve: Any) -> None:
    daemon, context = serve(rknn_scenario="hold.rknn_inputs_set=1")
    with FdWire(daemon.path) as wire:
        with closing(memfd(picture(1), name="rkllmd-cloexec")) as fds:
            wire.send_fds(line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=1), fds)
        daemon.wait_enter("rknn_inputs_set")
        process = Path(f"/proc/{daemon.process.pid}")
        held = [entry for entry in (process / "fd").iterdir() if "rkllmd-cloexec" in os.readlink(entry)]
        flags = [_flags(process / "fdinfo" / entry.name) for entry in held]
        assert flags, "it is held while the call lasts"
        assert all(value & O_CLOEXEC for value in flags)
        daemon.let_go()
        assert "result" in wire.final(1)


def _flags(info: Path) -> int:
    return int(next(row.split()[1] for row in info.read_text().splitlines() if row.startswith("flags:")), 8)


def test_the_daemon_never_writes_into_an_input(serve: Any) -> None:
    """And a client that goes on writing only harms itself."""
    daemon, context = serve(rknn_scenario="hold.rknn_inputs_set=1")
    with FdWire(daemon.path) as wire, closing(memfd(picture(1))) as fds:
        wire.send_fds(line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=1), fds)
        daemon.wait_enter("rknn_inputs_set")
        os.pwrite(fds[0], picture(2), 0)
        daemon.let_go()
        assert "result" in wire.final(1)
        assert os.pread(fds[0], 100, 0) == picture(2)
        with pytest.raises(PermissionError):
            os.ftruncate(fds[0], 0)


def test_a_memory_over_a_file_is_shared_both_ways_and_goes_with_its_client(serve: Any) -> None:
    daemon, context = serve()
    files = daemon.settled()[0]
    with FdWire(daemon.path) as wire, closing(memfd(picture(1), size=4096)) as fds:
        mem = wire.call("rknn.create_mem_from_fd", {"ctx": context, "fd": 0, "size": SIZE}, fds)["result"]["mem"]
        read = wire.ask("rknn.mem_sync", {"mem": mem, "mode": 2, "read": True})
        assert read["result"]["data"] == in_base64(picture(1))
        wire.ask("rknn.mem_sync", {"mem": mem, "mode": 1, "data": in_base64(picture(2))})
        assert os.pread(fds[0], SIZE, 0) == picture(2)
        with FdWire(daemon.path) as other:
            for method, params in (
                ("rknn.infer", {"context": context, "inputs": {"mem": mem}}),
                ("rknn.mem_sync", {"mem": mem, "mode": 2, "read": True}),
                ("rknn.destroy_mem", {"mem": mem}),
            ):
                assert kind(other.ask(method, params)) == "NotYours", method
    settle(daemon, files)
    with daemon.connect() as wire:
        assert wire.ask("server.status")["result"]["memories"] == []


def test_a_memory_that_goes_while_it_is_read_is_no_crash(serve: Any) -> None:
    """The conversion of one call and the end of the memory that it reads, in one piece: the end comes first."""
    daemon, context = serve(scenario="embd=8")
    daemon.load()
    size = 1 << 20
    tensor = {"dtype": "float16", "shape": [size // 16, 8]}
    with FdWire(daemon.path) as wire:
        for number in range(10):
            mem = wire.ask("rknn.create_mem", {"ctx": context, "size": size})["result"]["mem"]
            run = {"input_type": 2, "embed_input": {"embed": {"mem": mem, **tensor}}}
            wire.send(
                line("rknn.destroy_mem", {"mem": mem}, call_id=f"end {number}")
                + line("rkllm.run", run, call_id=f"run {number}")
            )
            answers = {message["id"]: kind(message) for message in (wire.receive(), wire.receive())}
            assert answers == {f"end {number}": None, f"run {number}": "InvalidHandle"}
    assert daemon.process.poll() is None


def test_a_run_with_a_tensor_looks_its_model_up_when_it_has_its_turn(serve: Any) -> None:
    """It is made ready only then; one without was made ready for a model that has gone meanwhile."""
    daemon, _ = serve(scenario="embd=8;hold.rkllm_run=1")
    tensor = {"embed": {"fd": 0, "dtype": "float32", "shape": [1, 8]}}
    with FdWire(daemon.path) as wire, closing(memfd(size=32)) as fds:
        handle = wire.ask("rkllm.init", {"model_path": str(daemon.model)})["result"]["handle"]
        wire.request("rkllm.run", {"handle": handle, "prompt": "Hello"}, "held")
        daemon.wait_enter("rkllm_run")
        wire.request("rkllm.destroy", {"handle": handle}, "end")
        run = {"handle": handle, "input_type": 2, "embed_input": tensor}
        wire.send_fds(line("rkllm.run", run, fds=1, call_id="tensor"), fds)
        wire.request("rkllm.run", {"handle": handle, "prompt": "Hello"}, "text")
        with daemon.connect() as looker:
            until("all wait", lambda: looker.ask("server.queue")["result"]["length"] == 3)
        daemon.let_go()
        assert kind(wire.final("tensor")) == "InvalidHandle"
        assert kind(wire.final("text")) == "ModelNotInitialized"


def test_big_tensors_by_descriptor_do_not_hold_up_others(serve: Any) -> None:
    """Their lines are short, and converting what they bring takes long."""
    daemon, _ = serve(scenario="embd=8")
    daemon.load()
    size = 16 << 20
    params = {"input_type": 2, "embed_input": {"embed": {"fd": 0, "dtype": "float16", "shape": [size // 16, 8]}}}
    with FdWire(daemon.path) as wire, daemon.connect() as other, closing(memfd(size=size)) as fds:
        counts: list[int] = []
        # Not timed: others are answered again and again meanwhile. A test that is not scheduled tries once more.
        while not counts or counts[-1] < 10:
            assert len(counts) < 20, f"this many instant calls were answered meanwhile: {counts}"
            wire.send_fds(line("rkllm.run", params, fds=1), fds)
            counts.append(0)
            while not select.select([wire.socket], [], [], 0)[0]:
                other.ask("rkllm.get_constants")
                counts[-1] += 1
            assert "result" in wire.final(1)


def test_clients_that_go_leave_nothing_behind(serve: Any) -> None:
    daemon, context = serve(rknn_scenario="delay.rknn_run=20")
    files = daemon.settled()[0]
    for number in range(20):
        with FdWire(daemon.path) as wire, closing(*(memfd(picture(1)) for _ in range(MOST))) as fds:
            request = line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=MOST)
            if number % 2:
                wire.send_fds(request, fds)
            wire.send_fds(request[: number + 1], fds)
    settle(daemon, files)


def test_a_client_that_goes_while_its_long_line_is_parsed_leaves_nothing_behind(serve: Any) -> None:
    """Its stream finds out that it is gone, in the middle of what a helper thread does."""
    daemon, _ = serve(scenario="text=ab;repeat=100000000;pace_us=500")
    daemon.load(max_new_tokens=0)
    files = daemon.settled()[0]
    request = line("rknn.get_constants", [], fds=MOST, call_id=2, extra=[[1]] * 200_000)
    for number in range(12):
        with FdWire(daemon.path) as wire, closing(*(memfd(picture(1)) for _ in range(MOST))) as fds:
            wire.request("rkllm.run_async", {"prompt": "x"})
            wire.receive()
            wire.send_fds(request, fds)
            time.sleep(0.001 * number)  # not a wait for anything: each round goes at another moment
    settle(daemon, files)

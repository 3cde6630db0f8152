"""Cases of the functions of tensor memories."""

from __future__ import annotations

import os

from onnx import TensorProto

from tests.portable.rknn.graphs import floats, identity
from tests.rknn.board import BYTES, ECHO, Client, Simulator, b64, memfd, shared
from tests.rknn.functions.cases import OK, case


@case
def create_mem(portable: Client) -> None:
    context = portable.load(floats())
    made = portable.result("rknn.create_mem", {"ctx": context, "size": 1000})
    assert made == {**OK, "mem": made["mem"], "size": 1000}
    memories = portable.result("server.status")["memories"]
    assert memories == [{"mem": made["mem"], "size": 1000, "context": context}]
    assert len(portable.contents(made["mem"])) == 1000


@case
def create_mem2(portable: Client) -> None:
    context = portable.load(floats())
    cached = portable.result("rknn.create_mem2", {"ctx": context, "size": 64, "alloc_flags": 1})["mem"]
    flags = ["RKNN_MEM_FLAG_ALLOC_NO_CONTEXT", "RKNN_FLAG_MEMORY_NON_CACHEABLE"]
    free = portable.result("rknn.create_mem2", {"ctx": context, "size": 64, "alloc_flags": flags})["mem"]
    memories = {item["mem"]: item["context"] for item in portable.result("server.status")["memories"]}
    assert memories == {cached: context, free: None}
    portable.result("rknn.destroy", {"context": context})
    assert portable.refused("rknn.mem_sync", {"mem": free, "mode": 1})["kind"] == "ModelNotInitialized"
    portable.load(floats())
    assert portable.contents(free) == bytes(64), "what belongs to no context outlives them all"
    assert portable.result("rknn.destroy_mem", {"mem": free}) == OK


@case
def create_mem_from_fd(portable: Client) -> None:
    context = portable.load(identity(TensorProto.UINT8, [8]))
    with shared(b"...." + BYTES) as fd:
        params = {"ctx": context, "fd": 0, "size": 8, "offset": 4}
        made = portable.result("rknn.create_mem_from_fd", params, fds=[fd])
        assert made == {**OK, "mem": made["mem"], "size": 8}
        assert portable.infer({"mem": made["mem"]})[0].tobytes() == BYTES
        os.pwrite(fd, b"\xff", 4)
        assert portable.contents(made["mem"]) == b"\xff" + BYTES[1:], "it is the client's memory, not a copy"


@case
def create_mem_from_mb_blk(portable: Client) -> None:
    context = portable.load(identity(TensorProto.UINT8, [8]))
    fd = memfd(b"...." + BYTES)
    portable.descriptors.append(fd)
    made = portable.result("rknn.create_mem_from_mb_blk", {"ctx": context, "mb_blk": {"fd": 0}, "offset": 4}, fds=[fd])
    assert made == {**OK, "mem": made["mem"], "size": 8}
    assert portable.contents(made["mem"]) == BYTES


@case
def create_mem_from_phys(simulator: Client, board: Simulator) -> None:
    context = simulator.load(ECHO)
    calls = board.daemon.calls("rknn_create_mem_from_phys")
    made = simulator.result("rknn.create_mem_from_phys", {"ctx": context, "phys_addr": 0x1000, "size": 8})
    assert made == {**OK, "mem": made["mem"], "size": 8}
    assert board.daemon.calls("rknn_create_mem_from_phys") == calls + 1
    simulator.result("rknn.mem_sync", {"mem": made["mem"], "mode": 1, "data": b64(BYTES)})
    assert simulator.infer({"mem": made["mem"]})[0].tobytes() == BYTES


@case
def destroy_mem(portable: Client) -> None:
    context = portable.load(floats())
    mem = portable.memory(context, BYTES)
    assert portable.result("rknn.destroy_mem", {"ctx": context, "mem": mem}) == OK
    assert portable.result("server.status")["memories"] == []
    assert portable.refused("rknn.mem_sync", {"mem": mem, "mode": 1})["kind"] == "InvalidHandle"


def outside(wire: Client, flag: str, needs: dict[str, str]) -> None:
    context = wire.load(ECHO, flag=[flag])
    sizes = wire.result("rknn.query", {"cmd": "RKNN_QUERY_MEM_SIZE"})
    for method, size in needs.items():
        assert wire.refused("rknn.infer", {"inputs": b64(BYTES)})["status_name"] == "RKNN_ERR_FAIL"
        needed = sizes[size]
        small = wire.result("rknn.create_mem", {"ctx": context, "size": needed - 1})["mem"]
        refused = wire.refused(method, {"ctx": context, "mem": small})
        assert (refused["kind"], refused["path"], refused["limit"]) == ("InvalidParams", "$.mem", needed)
        mem = wire.result("rknn.create_mem", {"ctx": context, "size": needed})["mem"]
        assert wire.result(method, {"ctx": context, "mem": mem}) == OK
        refused = wire.refused("rknn.destroy_mem", {"mem": mem})
        assert (refused["kind"], refused["limit"]) == ("InvalidParams", context), "the context needs it from now on"
    assert wire.infer(b64(BYTES))[0].tobytes() == BYTES


@case
def set_weight_mem(simulator: Client) -> None:
    needs = {"rknn.set_weight_mem": "total_weight_size", "rknn.set_internal_mem": "total_internal_size"}
    outside(simulator, "RKNN_FLAG_MEM_ALLOC_OUTSIDE", needs)


@case
def set_internal_mem(simulator: Client) -> None:
    outside(simulator, "RKNN_FLAG_INTERNAL_ALLOC_OUTSIDE", {"rknn.set_internal_mem": "total_internal_size"})


@case
def set_io_mem(portable: Client) -> None:
    context = portable.load(identity(TensorProto.UINT8, [8]))
    source, target = portable.memory(context, BYTES), portable.memory(context, bytes(8))
    assert portable.result("rknn.set_io_mem", {"mem": source, "attr": {"index": 0}}) == {**OK, "size": 8}
    assert portable.result("rknn.set_io_mem", {"mem": target, "attr": {"name": "y"}}) == {**OK, "size": 8}
    portable.result("rknn.run")
    assert portable.contents(target) == BYTES


@case
def mem_sync(simulator: Client, board: Simulator) -> None:
    context = simulator.load(ECHO)
    mem = simulator.result("rknn.create_mem", {"ctx": context, "size": 8})["mem"]
    calls = board.daemon.calls("rknn_mem_sync")
    written = {"mem": mem, "mode": "RKNN_MEMORY_SYNC_TO_DEVICE", "offset": 2, "data": b64(b"\x01\x02\x03")}
    assert simulator.result("rknn.mem_sync", written) == OK
    read = simulator.result("rknn.mem_sync", {"mem": mem, "mode": 2, "read": True, "offset": 1, "size": 5})
    assert read == {**OK, "data": b64(b"\0\1\2\3\0"), "dtype": "uint8", "shape": [5]}
    assert board.daemon.calls("rknn_mem_sync") == calls + 2

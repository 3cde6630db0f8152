"""Every C function of RKNN is a method, and each call has its effect in the runtime."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from tests import facts
from tests.portable.rknn.models import dynamic, floats, identity, reference
from tests.rknn.board import ECHO, Client, Simulator, b64, memfd, numbers, operator_library, shared, tensor

CASES: dict[str, Callable[..., None]] = {}
OK = {"success": True, "status": 0}
BYTES = bytes(range(8))
IMAGE = np.linspace(-1, 1, 48, dtype=np.float32).reshape(1, 4, 4, 3)
INT8 = "RKNN_INT8_MM_INT8_TO_INT32"


@pytest.fixture(scope="module")
def functions() -> dict[str, Any]:
    """C function → its facts."""
    return facts.functions(*facts.RKNN_HEADERS)


def case(function: Callable[..., None]) -> Callable[..., None]:
    CASES[f"rknn_{function.__name__}"] = function
    return function


def test_the_methods_are_the_functions_of_the_headers(portable: Client, functions: dict[str, Any]) -> None:
    answered = portable.result("rknn.get_functions")
    assert answered.keys() == functions.keys() == CASES.keys()
    assert len(answered) == 35
    for name, described in answered.items():
        assert described["method"] == f"rknn.{name.removeprefix('rknn_')}"
        c_names = [argument for argument, _ in functions[name]["args"]]
        given = described["signature"].partition("(")[2]
        positions = [given.index(c_name) for c_name in c_names]
        assert positions == sorted(positions), f"{name} has its parameters in the order of C"


def test_discovery_has_a_schema_for_each(portable: Client) -> None:
    methods = {method["name"]: method for method in portable.result("rpc.discover")["methods"]}
    for name in (*CASES, "rknn_infer", "rknn_get_functions", "rknn_get_constants"):
        assert methods[f"rknn.{name.removeprefix('rknn_')}"]["x-kind"] in ("instant", "ordered", "npu")


def expected_of_floats(image: Any = IMAGE) -> Any:
    return reference(floats(), {"x": np.ascontiguousarray(image.transpose(0, 3, 1, 2))})[0]


@case
def init(portable: Client) -> None:
    made = portable.result("rknn.init", {"model": {"data": b64(floats())}})
    assert made == {**OK, "context": made["context"], "n_input": 1, "n_output": 1}
    assert [item["context"] for item in portable.result("server.status")["contexts"]] == [made["context"]]
    assert portable.infer(tensor(IMAGE))[0].tobytes() == expected_of_floats().tobytes()


@case
def dup_context(portable: Client) -> None:
    first = portable.load(floats())
    made = portable.result("rknn.dup_context", {"context_in": first})
    assert made == {**OK, "context": made["context"], "n_input": 1, "n_output": 1}
    assert made["context"] != first
    portable.result("rknn.destroy", {"context": first})
    assert portable.infer(tensor(IMAGE), made["context"])[0].tobytes() == expected_of_floats().tobytes()


@case
def destroy(portable: Client) -> None:
    context = portable.load(floats())
    assert portable.result("rknn.destroy", {"context": context}) == OK
    assert portable.result("server.status")["contexts"] == []
    assert portable.refused("rknn.run", {"context": context})["kind"] == "InvalidHandle"
    assert portable.refused("rknn.run")["kind"] == "ModelNotInitialized"


@case
def query(portable: Client) -> None:
    portable.load(dynamic())
    assert portable.result("rknn.query", {"cmd": "RKNN_QUERY_IN_OUT_NUM"}) == {"n_input": 1, "n_output": 2}


@case
def inputs_set(portable: Client) -> None:
    portable.load(floats())
    for image in (IMAGE, IMAGE[:, ::-1]):
        assert portable.result("rknn.inputs_set", {"inputs": [{"buf": tensor(image)}]}) == OK
        portable.result("rknn.run")
        output = portable.result("rknn.outputs_get")["outputs"][0]
        assert numbers(output).tobytes() == expected_of_floats(image).tobytes()


@case
def set_batch_core_num(portable: Client) -> None:
    portable.load(floats())
    assert portable.result("rknn.set_batch_core_num", {"core_num": 3}) == OK
    refused = portable.refused("rknn.set_batch_core_num", {"core_num": 16})
    assert (refused["status_name"], refused["function"]) == ("RKNN_ERR_PARAM_INVALID", "rknn_set_batch_core_num")
    assert "core_num is 16" in refused["log"][-1], "the number arrives"


@case
def set_core_mask(portable: Client) -> None:
    portable.load(floats())
    for mask in (1, "RKNN_NPU_CORE_0_1_2"):
        assert portable.result("rknn.set_core_mask", {"core_mask": mask}) == OK
    refused = portable.refused("rknn.set_core_mask", {"core_mask": "RKNN_NPU_CORE_UNDEFINED"})
    assert "no core mask 65536" in refused["log"][-1], "the name becomes its number"


@case
def run(portable: Client) -> None:
    context = portable.load(floats())
    result = portable.result("rknn.run", {"context": context, "input_data": tensor(IMAGE), "outputs": True})
    assert numbers(result["outputs"][0]).tobytes() == expected_of_floats().tobytes()
    assert [item["runs"] for item in portable.result("server.status")["contexts"]] == [1]


@case
def wait(simulator: Client, board: Simulator) -> None:
    simulator.load(ECHO)
    finished = len(board.seen("finished", "rknn_run"))
    simulator.result("rknn.run", {"input_data": b64(BYTES), "extend": {"non_block": 1}})
    assert len(board.seen("finished", "rknn_run")) == finished, "the run has only begun"
    assert simulator.result("rknn.wait")["success"] is True
    assert len(board.seen("finished", "rknn_run")) == finished + 1
    assert numbers(simulator.result("rknn.outputs_get")["outputs"][0]).tobytes() == BYTES


@case
def outputs_get(portable: Client) -> None:
    portable.load(floats())
    portable.result("rknn.run", {"input_data": tensor(IMAGE)})
    got = portable.result("rknn.outputs_get")
    (output,) = got["outputs"]
    assert got["success"] is True
    described = {name: output[name] for name in ("index", "name", "size", "dtype", "shape")}
    assert described == {"index": 0, "name": "y", "size": 128, "dtype": "float32", "shape": [1, 2, 4, 4]}
    assert numbers(output).tobytes() == expected_of_floats().tobytes()


@case
def outputs_release(simulator: Client, board: Simulator) -> None:
    simulator.load(ECHO)
    simulator.result("rknn.run", {"input_data": b64(BYTES)})
    simulator.result("rknn.outputs_get")
    released = len(board.seen("leave", "rknn_outputs_release"))
    assert simulator.result("rknn.outputs_release") == OK
    assert len(board.seen("leave", "rknn_outputs_release")) == released + 1
    assert simulator.result("rknn.outputs_release") == OK
    assert len(board.seen("leave", "rknn_outputs_release")) == released + 1, "nothing is released twice"


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
def set_input_shape(portable: Client) -> None:
    portable.load(dynamic())
    assert portable.result("rknn.set_input_shape", {"attr": {"dims": [2, 5, 4, 3]}}) == OK
    given = np.arange(120, dtype=np.float32).reshape(2, 5, 4, 3)
    y, total = portable.infer(tensor(given))
    expected = reference(dynamic(), {"x": np.ascontiguousarray(given.transpose(0, 3, 1, 2))})
    assert (y.tobytes(), total.tobytes()) == (expected[0].tobytes(), expected[1].tobytes())


@case
def set_input_shapes(portable: Client) -> None:
    portable.load(dynamic())
    for height in (2, 7):
        assert portable.result("rknn.set_input_shapes", {"attr": [{"dims": [1, height, 4, 3]}]}) == OK
        attr = portable.result("rknn.query", {"cmd": "RKNN_QUERY_CURRENT_OUTPUT_ATTR", "index": 0})
        assert attr["dims"] == [1, 3, height, 4]
        assert portable.infer(tensor(np.ones((1, height, 4, 3), np.float32)))[0].shape == (1, 3, height, 4)


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


def multiply(wire: Client, context: int, io_attr: dict[str, Any], a: Any, b: Any) -> bytes:
    """Multiply through memories; return C's bytes."""
    for letter, content in (("A", a.tobytes()), ("B", b.tobytes()), ("C", bytes(io_attr["C"]["size"]))):
        mem = wire.memory(context, content)
        bound = wire.result("rknn.matmul_set_io_mem", {"ctx": context, "mem": mem, "attr": {"name": letter}})
        assert bound == {**OK, "size": io_attr[letter]["size"]}
    assert wire.result("rknn.matmul_run", {"ctx": context}) == OK
    return wire.contents(mem)


A = np.arange(-16, 16, dtype=np.int8).reshape(1, 32)
B = np.arange(1024).astype(np.int8).reshape(32, 32)
EXACT = (A.astype(np.int32) @ B.astype(np.int32)).tobytes()
INFO = {"M": 1, "K": 32, "N": 32, "type": INT8}


@case
def matmul_create(portable: Client) -> None:
    made = portable.result("rknn.matmul_create", {"info": INFO})
    assert made.keys() == {"success", "status", "context", "io_attr"}
    assert {name: attr["size"] for name, attr in made["io_attr"].items()} == {"A": 32, "B": 1024, "C": 128}
    matmuls = portable.result("server.status")["matmuls"]
    assert matmuls == [{"context": made["context"], "shape": [1, 32, 32]}]


@case
def matmul_create_dynamic_shape(portable: Client) -> None:
    shapes = [{"M": 1, "K": 32, "N": 32}, {"M": 4, "K": 32, "N": 64}]
    made = portable.result("rknn.matmul_create_dynamic_shape", {"info": {"type": INT8}, "dynamic_shapes": shapes})
    assert [attrs["C"]["dims"] for attrs in made["io_attrs"]] == [[1, 32], [4, 64]]
    assert multiply(portable, made["context"], made["io_attrs"][0], A, B) == EXACT


@case
def matmul_set_io_mem(portable: Client) -> None:
    made = portable.result("rknn.matmul_create", {"info": INFO})
    refused = portable.refused("rknn.matmul_run")
    assert (refused["kind"], refused["limit"]) == ("InvalidParams", 32), "nothing is bound yet"
    assert multiply(portable, made["context"], made["io_attr"], A, B) == EXACT


@case
def matmul_set_core_mask(portable: Client) -> None:
    portable.result("rknn.matmul_create", {"info": INFO})
    assert portable.result("rknn.matmul_set_core_mask", {"core_mask": "RKNN_NPU_CORE_0"}) == OK
    refused = portable.refused("rknn.matmul_set_core_mask", {"core_mask": 65536})
    assert (refused["kind"], refused["function"]) == ("RuntimeError", "rknn_matmul_set_core_mask")
    assert "no core mask 65536" in refused["log"][-1]


QUANTISED = {"M": 1, "K": 32, "N": 32, "type": "RKNN_INT8_MM_INT8_TO_FLOAT32"}


@case
def matmul_set_quant_params(portable: Client) -> None:
    made = portable.result("rknn.matmul_create", {"info": QUANTISED})
    for name, scale in (("A", 0.5), ("B", 0.25)):
        params = {"name": name, "scale": [scale], "zp": [0]}
        answer = portable.result("rknn.matmul_set_quant_params", {"params": params})
        assert answer == {**OK, "scale_len": 1, "zp_len": 1}
    expected = (A.astype(np.float32) @ B.astype(np.float32)) * np.float32(0.125)
    assert multiply(portable, made["context"], made["io_attr"], A, B) == expected.tobytes()


@case
def matmul_get_quant_params(portable: Client) -> None:
    portable.result("rknn.matmul_create", {"info": QUANTISED})
    portable.result("rknn.matmul_set_quant_params", {"params": {"name": "B", "scale": [0.25], "zp": [0]}})
    answer = portable.result("rknn.matmul_get_quant_params", {"params": {"name": "B"}})
    assert answer == {**OK, "scale": 0.25, "params": {"name": "B", "scale": [0.25], "zp": [0]}}


@case
def matmul_set_dynamic_shape(portable: Client) -> None:
    shapes = [{"M": 4, "K": 32, "N": 32}, {"M": 1, "K": 32, "N": 32}]
    made = portable.result("rknn.matmul_create_dynamic_shape", {"info": {"type": INT8}, "dynamic_shapes": shapes})
    answer = portable.result("rknn.matmul_set_dynamic_shape", {"shape": shapes[1]})
    assert answer == {**OK, "io_attr": made["io_attrs"][1]}
    assert portable.result("server.status")["matmuls"][0]["shape"] == [1, 32, 32]
    assert multiply(portable, made["context"], answer["io_attr"], A, B) == EXACT
    refused = portable.refused("rknn.matmul_set_dynamic_shape", {"shape": {"M": 2, "K": 32, "N": 32}})
    assert (refused["kind"], refused["limit"]) == ("InvalidParams", [[4, 32, 32], [1, 32, 32]])


@case
def matmul_run(portable: Client) -> None:
    made = portable.result("rknn.matmul_create", {"info": INFO})
    assert multiply(portable, made["context"], made["io_attr"], A, B) == EXACT


@case
def matmul_destroy(portable: Client) -> None:
    made = portable.result("rknn.matmul_create", {"info": INFO})
    mem = portable.memory(made["context"], BYTES)
    assert portable.result("rknn.matmul_destroy", {"ctx": made["context"]}) == OK
    status = portable.result("server.status")
    assert (status["matmuls"], status["memories"]) == ([], []), "its memories went with it"
    assert portable.refused("rknn.mem_sync", {"mem": mem, "mode": 1})["kind"] == "InvalidHandle"
    assert portable.refused("rknn.matmul_run", {"ctx": made["context"]})["kind"] == "InvalidHandle"


@case
def B_normal_layout_to_native_layout(portable: Client) -> None:  # noqa: N802 - C's name
    normal = np.arange(64 * 96).astype(np.int8).reshape(64, 96)
    params = {"B_input": b64(normal), "K": 64, "N": 96, "info": {"type": INT8, "B_layout": 1}}
    answer = portable.result("rknn.B_normal_layout_to_native_layout", params)
    # The tiles of an RK3588: [N / 32, K / 32, 32 of N, 32 of K].
    native = normal.reshape(2, 32, 3, 32).transpose(2, 0, 3, 1)
    assert numbers(answer["B_output"]).tobytes() == native.tobytes()
    made = portable.result("rknn.matmul_create", {"info": {"M": 1, "K": 64, "N": 96, "type": INT8, "B_layout": 1}})
    a = np.arange(64, dtype=np.int8).reshape(1, 64)
    expected = (a.astype(np.int32) @ normal.astype(np.int32)).tobytes()
    assert multiply(portable, made["context"], made["io_attr"], a, native) == expected


SCALED = (
    b"RKNNSIM\ninput name=x type=float32 dims=4\noutput name=y type=float32 dims=4\n"
    b"operator type=Scale output=0 factor:float32=2.5 axes:int64=-1,2 name:string=big\n"
)


@case
def register_custom_ops(simulator: Client) -> None:
    simulator.load(SCALED)
    given = np.array([1, 2, 3, -4], np.float32)
    assert simulator.refused("rknn.infer", {"inputs": tensor(given)})["status_name"] == "RKNN_ERR_FAIL"
    answer = simulator.result("rknn.register_custom_ops", {"op": str(operator_library())})
    assert answer == {**OK, "op_types": ["Scale"]}
    assert simulator.infer(tensor(given))[0].tolist() == [2.5, 5, 7.5, -10]


@case
def custom_op_get_op_attr(simulator: Client) -> None:
    context = simulator.load(SCALED)
    names = ["factor", "axes", "name", "missing"]
    simulator.result("rknn.register_custom_ops", {"ctx": context, "op": [str(operator_library())], "attr_names": names})
    node = {"context": context, "op_type": "Scale", "node": 0}
    found = {
        name: simulator.result("rknn.custom_op_get_op_attr", {"op_ctx": node, "attr_name": name}) for name in names
    }
    assert found["factor"] == {"name": "factor", "n_elems": 1, "dtype": "float32", "data": [2.5]}
    assert found["axes"] == {"name": "axes", "n_elems": 2, "dtype": "int64", "data": [-1, 2]}
    assert bytes(found["name"]["data"]) == b"big\0"
    assert found["missing"] == {"name": "missing", "n_elems": 0, "data": None}
    for wrong, path in (({"op_type": "None"}, "$.op_ctx"), ({"op_type": "Scale", "node": 1}, "$.op_ctx")):
        params = {"op_ctx": wrong, "attr_name": "factor"}
        assert simulator.refused("rknn.custom_op_get_op_attr", params)["path"] == path
    assert simulator.infer(tensor(np.ones(4, np.float32)))[0].tolist() == [2.5] * 4, "the operator's own init ran too"


@pytest.mark.parametrize("function", list(CASES))
def test_each_function_has_its_effect(function: str, request: pytest.FixtureRequest) -> None:
    prove = CASES[function]
    names = [name for name in prove.__annotations__ if name != "return"]
    fixtures = {name: request.getfixturevalue(name) for name in names}
    prove(**fixtures)
    wire = fixtures.get("portable") or fixtures["simulator"]
    assert f"rknn.{function.removeprefix('rknn_')}" in wire.asked

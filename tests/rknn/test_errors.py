"""Every kind of error, and that a good request works after each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from tests.portable.rknn.models import dynamic, floats, gather, identity
from tests.rknn.board import DIGITS, ECHO, Client, Simulator, b64, client, operator_library, shared, tensor

BYTES = bytes(range(8))
BIND = {"index": 0}
INFO = {"M": 1, "K": 32, "N": 32, "type": "RKNN_INT8_MM_INT8_TO_INT32"}


@pytest.fixture
def loaded(portable: Client) -> Iterator[tuple[Client, int]]:
    """Return a connection with one context, uint8 [8] to the same; it still works at the end."""
    context = portable.load(identity(TensorProto.UINT8, [8]))
    yield portable, context
    assert portable.infer(b64(BYTES), context)[0].tobytes() == BYTES


# What the daemon refuses before the runtime sees it: method, params, JSON path, keyword. CTX and MEM (16 bytes, made
# with CTX) stand for the handles.
CTX, MEM = "<context>", "<memory>"
SMALL = "<memory of 4 bytes>"
WRONG: list[tuple[str, Any, str, str]] = [
    ("rknn.inputs_set", {"inputs": [{"buf": b64(bytes(9))}]}, "$.inputs[0].buf", "shape"),
    ("rknn.inputs_set", {"inputs": [{"buf": b64(bytes(7))}]}, "$.inputs[0].buf", "shape"),
    ("rknn.inputs_set", {"inputs": [{"buf": ""}]}, "$.inputs[0].buf", "shape"),
    ("rknn.inputs_set", {"inputs": [{"buf": [1, 2, 3]}]}, "$.inputs[0].buf", "shape"),
    ("rknn.inputs_set", {"inputs": [{"buf": b64(BYTES), "index": 1}]}, "$.inputs[0].index", "maximum"),
    ("rknn.inputs_set", {"inputs": [{"buf": b64(BYTES)}, {"buf": b64(BYTES)}]}, "$.inputs", "maxItems"),
    ("rknn.inputs_set", {"inputs": [{"index": 0}]}, "$.inputs[0].buf", "required"),
    ("rknn.inputs_set", {"inputs": [{"buf": b64(BYTES), "type": "RKNN_TENSOR_COMPLEX"}]}, "$.inputs[0].type", "enum"),
    ("rknn.inputs_set", {"inputs": [{"buf": b64(BYTES), "type": 99}]}, "$.inputs[0].type", "enum"),
    ("rknn.inputs_set", {"inputs": [{"buf": b64(BYTES), "fmt": "NHWC"}]}, "$.inputs[0].fmt", "enum"),
    ("rknn.inputs_set", {"inputs": [{"buf": b64(BYTES), "color": 1}]}, "$.inputs[0]", "additionalProperties"),
    ("rknn.inputs_set", {"inputs": [{"buf": "not base64!"}]}, "$.inputs[0].buf", "contentEncoding"),
    (
        "rknn.inputs_set",
        {"inputs": [{"buf": {"data": b64(BYTES), "dtype": "complex"}}]},
        "$.inputs[0].buf.dtype",
        "enum",
    ),
    ("rknn.inputs_set", {"inputs": [{"buf": {"fd": 0}}]}, "$.inputs[0].buf.fd", "maximum"),
    ("rknn.inputs_set", {"inputs": [{"buf": {"fd": -1}}]}, "$.inputs[0].buf.fd", "maximum"),
    ("rknn.inputs_set", {"inputs": [{"buf": {"mem": 0}}]}, "$.inputs[0].buf.mem", "minimum"),
    ("rknn.inputs_set", {"inputs": [{"buf": {"mem": MEM, "offset": 17}}]}, "$.inputs[0].buf", "maximum"),
    ("rknn.inputs_set", {"inputs": [{"buf": {"mem": MEM, "offset": 9, "size": 8}}]}, "$.inputs[0].buf", "maximum"),
    ("rknn.inputs_set", {"inputs": []}, "$.inputs", "minItems"),
    ("rknn.inputs_set", {}, "$.inputs", "required"),
    ("rknn.inputs_set", {"inputs": [{"buf": b64(bytes(7)), "pass_through": True}]}, "$.inputs[0].buf", "shape"),
    (
        "rknn.inputs_set",
        {"inputs": [{"buf": {"data": b64(BYTES), "dtype": "int8"}, "type": "RKNN_TENSOR_UINT8"}]},
        "$.inputs[0].type",
        "const",
    ),
    ("rknn.infer", {"inputs": b64(bytes(9))}, "$.inputs", "shape"),
    ("rknn.infer", {}, "$.inputs", "required"),
    ("rknn.infer", {"inputs": [None]}, "$.inputs[0]", "type"),
    ("rknn.infer", {"inputs": b64(BYTES), "top_k": 0}, "$.top_k", "minimum"),
    ("rknn.infer", {"inputs": b64(BYTES), "encoding": "hex"}, "$.encoding", "enum"),
    ("rknn.infer", {"inputs": b64(BYTES), "input_data": b64(BYTES)}, "$.input_data", "oneOf"),
    ("rknn.run", {"inputs": b64(BYTES), "input_data": b64(BYTES)}, "$.input_data", "oneOf"),
    ("rknn.run", {"extend": {"non_block": 1}, "outputs": True}, "$.outputs", "const"),
    ("rknn.run", {"extend": {"fence_fd": {"fd": 3}}}, "$.extend.fence_fd.fd", "maximum"),
    ("rknn.run", {"extend": {"blocking": 3}}, "$.extend", "additionalProperties"),
    ("rknn.run", {"colour": 1}, "$.colour", "additionalProperties"),
    ("rknn.run", [CTX, None, None, None], "$[2]", "maxItems"),
    ("rknn.outputs_get", {"outputs": [{"index": 1}]}, "$.outputs[0].index", "maximum"),
    ("rknn.outputs_get", {"num_outputs": 2}, "$.num_outputs", "maximum"),
    ("rknn.outputs_get", {"outputs": [{"is_prealloc": True}]}, "$.outputs[0].buf", "required"),
    ("rknn.outputs_get", {"outputs": [{"is_prealloc": True, "buf": b64(BYTES)}]}, "$.outputs[0].buf", "required"),
    ("rknn.outputs_get", {"outputs": [{"is_prealloc": True, "buf": {"mem": SMALL}}]}, "$.outputs[0].buf", "minimum"),
    ("rknn.query", {"cmd": "RKNN_QUERY_EVERYTHING"}, "$.cmd", "enum"),
    ("rknn.query", {"cmd": 99}, "$.cmd", "enum"),
    ("rknn.query", {"cmd": 1, "index": 1}, "$.index", "maximum"),
    ("rknn.query", {"cmd": 1, "index": 0, "info": {"index": 0}}, "$.index", "uniqueItems"),
    ("rknn.query", {}, "$.cmd", "required"),
    ("rknn.create_mem", {"ctx": CTX, "size": 0}, "$.size", "minimum"),
    ("rknn.create_mem", {"ctx": CTX, "size": 2**32}, "$.size", "maximum"),
    ("rknn.create_mem", {"ctx": CTX, "size": "8"}, "$.size", "type"),
    ("rknn.create_mem2", {"ctx": CTX, "size": 8, "alloc_flags": ["FAST"]}, "$.alloc_flags[0]", "enum"),
    ("rknn.create_mem_from_fd", {"ctx": CTX, "fd": 0, "size": 8}, "$.fd.fd", "maximum"),
    ("rknn.mem_sync", {"mem": MEM, "mode": 0}, "$.mode", "enum"),
    ("rknn.mem_sync", {"mem": MEM, "mode": 1, "data": b64(bytes(17))}, "$.data", "maximum"),
    ("rknn.mem_sync", {"mem": MEM, "mode": 1, "data": b64(bytes(9)), "offset": 8}, "$.data", "maximum"),
    ("rknn.mem_sync", {"mem": MEM, "mode": 2, "read": True, "offset": 8, "size": 9}, "$", "maximum"),
    ("rknn.mem_sync", {"mem": MEM, "mode": 2, "read": True, "size": 0}, "$", "maximum"),
    ("rknn.set_io_mem", {"mem": SMALL, "attr": BIND}, "$.mem", "minimum"),
    ("rknn.set_io_mem", {"mem": MEM, "attr": {"index": 1}}, "$.attr.index", "maximum"),
    ("rknn.set_io_mem", {"mem": MEM, "attr": {"name": "z"}}, "$.attr.name", "keyword?"),
    ("rknn.set_io_mem", {"mem": MEM, "attr": {"index": 0, "dims": [9]}}, "$.attr.dims", "const"),
    ("rknn.set_input_shapes", {"attr": [{"dims": [8]}, {"dims": [8]}]}, "$.attr", "keyword?"),
    ("rknn.set_input_shapes", {"attr": [{"dims": [-8]}]}, "$.attr[0].dims[0]", "minimum"),
    ("rknn.set_input_shapes", {"attr": [{"dims": [1] * 17}]}, "$.attr[0].dims", "maxItems"),
    ("rknn.set_core_mask", {"core_mask": 8}, "$.core_mask", "enum"),
    ("rknn.set_core_mask", {"core_mask": True}, "$.core_mask", "enum"),
    ("rknn.set_batch_core_num", {"core_num": 0}, "$.core_num", "minimum"),
    ("rknn.init", {}, "$.model_path", "oneOf"),
    ("rknn.init", {"model_path": str(DIGITS), "model": str(DIGITS)}, "$.model_path", "oneOf"),
    ("rknn.init", {"model_path": "/nowhere/digits.onnx"}, "$.model_path", "keyword?"),
    ("rknn.init", {"model": {"fd": 0}}, "$.model.fd", "maximum"),
    ("rknn.init", {"model_path": str(DIGITS), "flag": ["FAST"]}, "$.flag[0]", "enum"),
    ("rknn.init", {"model_path": str(DIGITS), "core_mask": 9}, "$.core_mask", "enum"),
    ("rknn.matmul_create", {"info": {"M": 1, "K": 32, "N": 32}}, "$.info", "required"),
    ("rknn.matmul_create", {"info": {**INFO, "M": 0}}, "$.info", "minimum"),
    ("rknn.matmul_create", {"info": {**INFO, "M": 2**20, "K": 2**20}}, "$.info", "minimum"),
    ("rknn.matmul_create", {"info": {**INFO, "type": "INT8"}}, "$.info.type", "enum"),
    (
        "rknn.B_normal_layout_to_native_layout",
        {"B_input": b64(bytes(9)), "K": 3, "N": 2, "info": {"type": 2}},
        "$.B_input",
        "shape",
    ),
    ("rknn.register_custom_ops", {"op": []}, "$.op", "minItems"),
]


@pytest.mark.parametrize(("method", "params", "path", "keyword"), WRONG)
def test_wrong_parameters_name_their_place(
    loaded: tuple[Client, int], method: str, params: Any, path: str, keyword: str
) -> None:
    wire, context = loaded
    handles: dict[str, int] = {CTX: context}
    if MEM in str(params) or SMALL in str(params):
        handles |= {MEM: wire.memory(context, bytes(16)), SMALL: wire.memory(context, bytes(4))}
    if method == "rknn.outputs_get":
        wire.result("rknn.run", {"input_data": b64(BYTES)})
    before = held_by(wire)
    refused = wire.refused(method, filled(params, handles))
    assert (refused["code"], refused["kind"]) == (-32602, "InvalidParams"), refused
    assert refused["path"] == path, refused
    if keyword != "keyword?":
        assert refused["keyword"] == keyword, refused
    assert held_by(wire) == before, "nothing was made"


def filled(value: Any, handles: dict[str, int]) -> Any:
    if isinstance(value, dict):
        return {name: filled(item, handles) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, handles) for item in value]
    return handles.get(value, value) if isinstance(value, str) else value


def held_by(wire: Client) -> list[int]:
    status = wire.result("server.status")
    return [len(status[name]) for name in ("contexts", "matmuls", "memories")]


@pytest.mark.parametrize(
    ("content", "seals", "params"),
    [
        (BYTES, 0, {"fd": 0}),
        (bytes(7), 2, {"fd": 0}),
        (BYTES, 2, {"fd": 0, "offset": 1}),
        (BYTES, 2, {"fd": 0, "size": 9}),
        (BYTES, 2, {"fd": 1}),
        (b"", 2, {"fd": 0}),
    ],
    ids=["not sealed", "too short", "offset", "beyond the end", "not sent", "empty"],
)
def test_a_descriptor_that_can_not_be_used_is_refused(
    loaded: tuple[Client, int], content: bytes, seals: int, params: dict[str, Any]
) -> None:
    wire, context = loaded
    with shared(content, seals) as fd:
        assert wire.refused("rknn.infer", {"inputs": params}, fds=[fd])["kind"] == "InvalidParams"
        span = {name: value for name, value in params.items() if name != "fd"}
        if "size" in params or seals == 0 or params["fd"] == 1:
            made = {"ctx": context, "size": 8, **span, "fd": params["fd"]}
            assert wire.refused("rknn.create_mem_from_fd", made, fds=[fd])["kind"] == "InvalidParams"


def test_a_file_on_a_disk_and_a_pipe_are_no_memory(loaded: tuple[Client, int], tmp_path: Path) -> None:
    wire, context = loaded
    path = tmp_path / "file"
    path.write_bytes(BYTES)
    reading, writing = os.pipe()
    with path.open("r+b") as file:
        for fd in (file.fileno(), reading):
            params = {"ctx": context, "fd": 0, "size": 8}
            assert wire.refused("rknn.create_mem_from_fd", params, fds=[fd])["path"] == "$.fd"
            assert wire.refused("rknn.infer", {"inputs": {"fd": 0}}, fds=[fd])["kind"] == "InvalidParams"
    os.close(reading)
    os.close(writing)


def test_an_output_that_does_not_fit_a_descriptor_is_refused(loaded: tuple[Client, int]) -> None:
    wire, _ = loaded
    wire.result("rknn.run", {"input_data": b64(BYTES)})
    with shared(bytes(7)) as fd:
        asked = [{"is_prealloc": True, "buf": {"fd": 0}}]
        refused = wire.refused("rknn.outputs_get", {"outputs": asked}, fds=[fd])
        assert (refused["path"], refused["keyword"], refused["limit"]) == ("$.outputs[0].buf", "minimum", 8)
    with shared(BYTES, 0x2 | 0x8) as fd:  # sealed against writing: nothing can be written to it
        assert wire.refused("rknn.outputs_get", {"outputs": asked}, fds=[fd])["kind"] == "InvalidParams"


def test_declared_descriptors_that_did_not_come_are_refused(loaded: tuple[Client, int]) -> None:
    wire, _ = loaded
    assert wire.refused("rknn.infer", {"inputs": {"fd": 0}}, fds=())["kind"] == "InvalidParams"
    wire.send(b'{"jsonrpc":"2.0","id":5,"method":"rknn.infer","params":{"inputs":{"fd":0}},"fds":2}\n')
    assert wire.final(5)["error"]["code"] in (-32600, -32602)


# The runtime's own failures


def test_the_runtimes_error_has_its_name_and_its_lines(loaded: tuple[Client, int], tmp_path: Path) -> None:
    wire, _ = loaded
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"NOT A MODEL")
    refused = wire.refused("rknn.init", {"model_path": str(bad)})
    assert (refused["code"], refused["kind"]) == (-32002, "RuntimeError")
    assert (refused["function"], refused["status"]) == ("rknn_init", -6)
    assert refused["status_name"] == "RKNN_ERR_MODEL_INVALID"
    assert refused["log"][-1].startswith("E RKNN: rknn_init:")
    assert refused["message"].startswith("rknn_init failed with RKNN_ERR_MODEL_INVALID (-6): E RKNN")


def test_a_run_that_fails_in_the_graph_names_itself(portable: Client) -> None:
    context = portable.load(gather())
    params = {"context": context, "inputs": tensor(np.array([0, 7], np.int64))}
    refused = portable.refused("rknn.infer", params)
    assert (refused["function"], refused["status_name"]) == ("rknn_run", "RKNN_ERR_FAIL")
    assert refused["log"], "it says why"
    assert portable.infer(tensor(np.array([0, 2], np.int64)), context)[0].tolist() == [1, 3]


ERRORS = {
    "RKNN_ERR_FAIL": -1,
    "RKNN_ERR_TIMEOUT": -2,
    "RKNN_ERR_DEVICE_UNAVAILABLE": -3,
    "RKNN_ERR_MALLOC_FAIL": -4,
    "RKNN_ERR_PARAM_INVALID": -5,
    "RKNN_ERR_MODEL_INVALID": -6,
    "RKNN_ERR_CTX_INVALID": -7,
    "RKNN_ERR_INPUT_INVALID": -8,
    "RKNN_ERR_OUTPUT_INVALID": -9,
    "RKNN_ERR_DEVICE_UNMATCH": -10,
    "RKNN_ERR_INCOMPATILE_PRE_COMPILE_MODEL": -11,
    "RKNN_ERR_INCOMPATILE_OPTIMIZATION_LEVEL_VERSION": -12,
    "RKNN_ERR_TARGET_PLATFORM_UNMATCH": -13,
}


@pytest.mark.parametrize("name", ERRORS)
def test_each_status_has_its_name(simulator: Client, board: Simulator, name: str) -> None:
    board.play({"return.rknn_init": ERRORS[name]})
    refused = simulator.refused("rknn.init", {"model": {"data": b64(ECHO)}})
    assert (refused["status"], refused["status_name"]) == (ERRORS[name], name)
    board.play({})
    simulator.load(ECHO)
    assert simulator.infer(b64(BYTES))[0].tobytes() == BYTES


def test_a_status_that_the_header_does_not_name_has_no_name(simulator: Client, board: Simulator) -> None:
    with board.playing(return__rknn_init=-77):
        refused = simulator.refused("rknn.init", {"model": {"data": b64(ECHO)}})
    assert (refused["status"], refused["status_name"]) == (-77, None)


# Each function that reports a status, with what must be there before it is called.
STATUSES: dict[str, tuple[str, Any]] = {
    "rknn_set_core_mask": ("context", {"core_mask": 1}),
    "rknn_set_batch_core_num": ("context", {"core_num": 1}),
    "rknn_inputs_set": ("context", {"inputs": [{"buf": b64(BYTES)}]}),
    "rknn_run": ("context", {}),
    "rknn_outputs_get": ("context", {}),
    "rknn_dup_context": ("context", {}),
    "rknn_wait": ("context", {}),
    "rknn_create_mem": ("context", {"ctx": CTX, "size": 8}),
    "rknn_create_mem2": ("context", {"ctx": CTX, "size": 8}),
    "rknn_create_mem_from_phys": ("context", {"ctx": CTX, "size": 8, "phys_addr": 1}),
    "rknn_mem_sync": ("memory", {"mem": MEM, "mode": 1}),
    "rknn_set_io_mem": ("memory", {"mem": MEM, "attr": BIND}),
    "rknn_set_input_shapes": ("context", {"attr": [{"dims": [8]}]}),
    "rknn_set_input_shape": ("context", {"attr": {"dims": [8]}}),
    "rknn_matmul_create": ("nothing", {"info": INFO}),
    "rknn_matmul_set_core_mask": ("matmul", {"core_mask": 1}),
    "rknn_matmul_get_quant_params": ("matmul", {"params": {"name": "A"}}),
    "rknn_B_normal_layout_to_native_layout": (
        "nothing",
        {"B_input": b64(bytes(1024)), "K": 32, "N": 32, "info": {"type": 2}},
    ),
}


@pytest.mark.parametrize("function", STATUSES)
def test_a_function_that_fails_says_so_and_leaves_the_rest(simulator: Client, board: Simulator, function: str) -> None:
    needs, params = STATUSES[function]
    handles: dict[str, int] = {}
    if needs in ("context", "memory"):
        handles[CTX] = simulator.load(ECHO)
        simulator.infer(b64(BYTES))
    if needs == "memory":
        handles[MEM] = simulator.memory(handles[CTX], BYTES)
    if needs == "matmul":
        simulator.result("rknn.matmul_create", {"info": INFO})
    before = held_by(simulator)
    board.play({"run": "fail"} if function == "rknn_run" else {f"fault.{function}": "fail"})
    refused = simulator.refused(f"rknn.{function.removeprefix('rknn_')}", filled(params, handles))
    assert (refused["kind"], refused["function"]) == ("RuntimeError", function)
    if "create_mem" not in function:  # which returns a pointer
        assert (refused["status"], refused["status_name"]) == (-1, "RKNN_ERR_FAIL")
    assert held_by(simulator) == before
    board.play({})
    if handles:
        assert simulator.infer(b64(BYTES))[0].tobytes() == BYTES


def test_a_context_whose_destroy_fails_is_gone_all_the_same(own_simulator: Callable[..., Simulator]) -> None:
    board = own_simulator()
    with board.client() as wire:
        context = wire.load(ECHO)
        wire.memory(context, BYTES)
        with board.playing(return__rknn_destroy=-1):
            refused = wire.refused("rknn.destroy", {"context": context})
        assert (refused["function"], refused["status_name"]) == ("rknn_destroy", "RKNN_ERR_FAIL")
        assert wire.refused("rknn.run", {"context": context})["kind"] == "InvalidHandle"
        assert held_by(wire) == [0, 0, 0]
        wire.load(ECHO)
        assert wire.infer(b64(BYTES))[0].tobytes() == BYTES


# Not supported, not allowed, not there, not yours


def test_what_this_runtime_lacks_is_not_supported(loaded: tuple[Client, int]) -> None:
    wire, _ = loaded
    for command in ("RKNN_QUERY_DEVICE_MEM_INFO", 12):
        refused = wire.refused("rknn.query", {"cmd": command})
        assert (refused["code"], refused["kind"]) == (-32008, "NotSupported")
        assert {"runtime", "needs"} <= refused.keys()


def test_custom_operators_need_another_runtime(start: Callable[..., Any]) -> None:
    library = operator_library()
    daemon = start("--operator-directories", str(library.parent), runtime="portable")
    with client(daemon) as wire:
        wire.load(identity(TensorProto.UINT8, [8]))
        refused = wire.refused("rknn.register_custom_ops", {"op": str(library)})
        assert (refused["code"], refused["kind"]) == (-32008, "NotSupported")
        assert wire.infer(b64(BYTES))[0].tobytes() == BYTES


def test_what_the_configuration_forbids_is_denied(loaded: tuple[Client, int]) -> None:
    wire, context = loaded
    refused = wire.refused("rknn.create_mem_from_phys", {"ctx": context, "phys_addr": 4096, "size": 8})
    assert (refused["code"], refused["kind"]) == (-32009, "PermissionDenied")
    assert refused["setting"] == "allow_physical_addresses"


def test_operators_are_denied_unless_a_directory_is_named(own_simulator: Callable[..., Simulator]) -> None:
    with own_simulator() as board, board.client() as wire:
        context = wire.load(ECHO)
        refused = wire.refused("rknn.register_custom_ops", {"op": str(operator_library())})
        assert (refused["code"], refused["kind"]) == (-32009, "PermissionDenied")
        assert refused["setting"] == "operator_directories"
        params = {"ctx": context, "phys_addr": 4096, "size": 8}
        assert wire.refused("rknn.create_mem_from_phys", params)["kind"] == "PermissionDenied"
        assert board.daemon.calls("rknn_create_mem_from_phys") == 0
        assert wire.infer(b64(BYTES))[0].tobytes() == BYTES


def test_operators_come_from_their_directory_only(simulator: Client, tmp_path: Path) -> None:
    simulator.load(ECHO)
    elsewhere = tmp_path / "op.so"
    elsewhere.write_bytes(operator_library().read_bytes())
    refused = simulator.refused("rknn.register_custom_ops", {"op": str(elsewhere)})
    assert (refused["kind"], refused["path"]) == ("PermissionDenied", "$.op")
    assert "operator_directories" in refused["message"]
    missing = operator_library().parent / "missing.so"
    assert simulator.refused("rknn.register_custom_ops", {"op": [str(missing)]})["path"] == "$.op[0]"
    no_library = operator_library().parent / "text.so"
    no_library.write_text("text")
    refused = simulator.refused("rknn.register_custom_ops", {"op": str(no_library)})
    assert (refused["kind"], refused["path"], refused["keyword"]) == ("InvalidParams", "$.op", "format")
    assert simulator.infer(b64(BYTES))[0].tobytes() == BYTES


def test_limits_hold_and_say_what_they_are(start: Callable[..., Any]) -> None:
    limits = ("--max-handles-per-connection", "4", "--max-memory-bytes", str(2**20))
    daemon = start(*limits, runtime="portable")
    with client(daemon) as wire:
        context = wire.load(identity(TensorProto.UINT8, [8]))
        refused = wire.refused("rknn.create_mem", {"ctx": context, "size": 2**20 + 1})
        assert (refused["code"], refused["kind"]) == (-32006, "OutOfMemory")
        wanted = {"needed_bytes": 2**20 + 1, "available_bytes": 2**20, "reserve_bytes": 0, "loaded": []}
        assert {name: refused[name] for name in wanted} == wanted
        first = wire.result("rknn.create_mem", {"ctx": context, "size": 2**20 - 8})["mem"]
        with shared(bytes(16)) as fd:
            params = {"ctx": context, "fd": 0, "size": 16}
            refused = wire.refused("rknn.create_mem_from_fd", params, fds=[fd])
        assert (refused["kind"], refused["available_bytes"]) == ("OutOfMemory", 8)
        assert refused["loaded"] == [{"mem": first, "size_bytes": 2**20 - 8}]
        with client(daemon) as other:
            theirs = other.load(identity(TensorProto.UINT8, [8]))
            params = {"ctx": theirs, "size": 16}
            assert other.refused("rknn.create_mem", params)["kind"] == "OutOfMemory", "all clients together"
        assert wire.result("rknn.create_mem2", {"ctx": context, "size": 8})["success"] is True
        wire.result("rknn.matmul_create", {"info": INFO})
        makers: list[tuple[str, Any]] = [
            ("rknn.init", {"model_path": str(DIGITS)}),
            ("rknn.dup_context", {"context_in": context}),
            ("rknn.matmul_create", {"info": INFO}),
            ("rknn.matmul_create_dynamic_shape", {"info": {"type": 2}, "dynamic_shapes": {"M": 1, "K": 32, "N": 32}}),
            ("rknn.create_mem", {"ctx": context, "size": 1}),
            ("rknn.create_mem2", {"ctx": context, "size": 1}),
        ]
        for method, params in makers:
            refused = wire.refused(method, params)
            assert (refused["code"], refused["kind"], refused["limit"]) == (-32009, "PermissionDenied", 4), method
        wire.result("rknn.destroy_mem", {"mem": first})
        assert wire.result("rknn.create_mem", {"ctx": context, "size": 8})["success"] is True, "there is room again"
        assert wire.infer(b64(BYTES), context)[0].tobytes() == BYTES


def test_nothing_loaded_several_unknown_and_not_yours(portable: Client, portable_daemon: Any) -> None:
    refused = portable.refused("rknn.run", {"input_data": b64(BYTES)})
    assert (refused["code"], refused["kind"]) == (-32000, "ModelNotInitialized")
    assert "rknn.init" in refused["message"]
    assert portable.refused("rknn.matmul_run")["kind"] == "ModelNotInitialized"
    assert portable.refused("rknn.query", {"cmd": 0})["kind"] == "ModelNotInitialized"
    first = portable.load(identity(TensorProto.UINT8, [8]))
    second = portable.load(identity(TensorProto.UINT8, [8]))
    for method in ("rknn.run", "rknn.outputs_get", "rknn.destroy", "rknn.wait"):
        refused = portable.refused(method)
        assert (refused["code"], refused["kind"]) == (-32005, "AmbiguousHandle")
        assert refused["handles"] == [first, second]
    refused = portable.refused("rknn.run", {"context": 999_999})
    assert (refused["code"], refused["kind"], refused["handle"]) == (-32005, "InvalidHandle", 999_999)
    mem = portable.memory(first, BYTES)
    with client(portable_daemon) as other:
        for method, params in (
            ("rknn.run", {"context": first}),
            ("rknn.query", {"context": first, "cmd": 0}),
            ("rknn.destroy", {"context": first}),
            ("rknn.dup_context", {"context_in": first}),
            ("rknn.destroy_mem", {"mem": mem}),
            ("rknn.mem_sync", {"mem": mem, "mode": 1}),
        ):
            refused = other.refused(method, params)
            assert (refused["code"], refused["kind"]) == (-32005, "NotYours"), method
        assert other.refused("rknn.run")["kind"] == "ModelNotInitialized", "another's context is none to it"
        mine = other.load(identity(TensorProto.UINT8, [8]))
        refused = other.refused("rknn.infer", {"context": mine, "inputs": {"mem": mem}})
        assert refused["kind"] == "NotYours"
        assert other.infer(b64(BYTES))[0].tobytes() == BYTES
    assert portable.infer({"mem": mem}, first)[0].tobytes() == BYTES


def test_a_handle_of_another_kind_is_refused(portable: Client) -> None:
    context = portable.load(identity(TensorProto.UINT8, [8]))
    matmul = portable.result("rknn.matmul_create", {"info": INFO})["context"]
    mem = portable.memory(context, BYTES)
    for method, params in (
        ("rknn.run", {"context": matmul}),
        ("rknn.matmul_run", {"ctx": context}),
        ("rknn.run", {"context": mem}),
        ("rknn.destroy_mem", {"mem": context}),
        ("rknn.matmul_destroy", {"ctx": mem}),
    ):
        assert portable.refused(method, params)["kind"] == "InvalidHandle", method
    refused = portable.refused("rknn.destroy_mem", {"ctx": matmul, "mem": mem})
    assert (refused["kind"], refused["path"]) == ("InvalidParams", "$.mem"), "it was made with another context"
    assert portable.infer({"mem": mem}, context)[0].tobytes() == BYTES


def test_a_shape_that_the_model_may_not_have_is_the_runtimes_to_refuse(portable: Client) -> None:
    portable.load(dynamic({"rknn_dynamic_shapes": "[[[1, 3, 2, 4]], [[2, 3, 5, 4]]]"}))
    refused = portable.refused("rknn.set_input_shapes", {"attr": [{"dims": [3, 3, 4, 3]}]})
    assert (refused["kind"], refused["function"]) == ("RuntimeError", "rknn_set_input_shapes")
    portable.result("rknn.set_input_shapes", {"attr": [{"dims": [2, 5, 4, 3]}]})
    assert portable.infer(tensor(np.ones((2, 5, 4, 3), np.float32)))[0].shape == (2, 3, 5, 4)


def test_outputs_before_a_run_are_refused_by_the_runtime(portable: Client) -> None:
    portable.load(floats())
    refused = portable.refused("rknn.outputs_get")
    assert (refused["kind"], refused["function"]) == ("RuntimeError", "rknn_outputs_get")
    assert portable.refused("rknn.run")["kind"] == "RuntimeError", "no input was set"
    assert portable.infer(tensor(np.ones((1, 4, 4, 3), np.float32)))[0].shape == (1, 2, 4, 4)


def test_a_memory_that_does_not_fit_after_new_shapes_stops_the_run(portable: Client) -> None:
    context = portable.load(dynamic())
    mem = portable.memory(context, bytes(48))
    portable.result("rknn.set_io_mem", {"mem": mem, "attr": {"index": 0}})
    portable.result("rknn.set_input_shapes", {"attr": [{"dims": [2, 5, 4, 3]}]})
    refused = portable.refused("rknn.run")
    assert (refused["kind"], refused["keyword"], refused["limit"]) == ("InvalidParams", "minimum", 480)
    assert held_by(portable) == [1, 0, 1]


# Numbers at the edge


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("rknn.create_mem", {"ctx": CTX, "size": 8.0}),
        ("rknn.create_mem2", {"ctx": CTX, "size": 8.0, "alloc_flags": 0.0}),
        ("rknn.set_io_mem", {"mem": MEM, "attr": {"index": 0.0}, "output": True}),
        ("rknn.set_batch_core_num", {"core_num": 1.0}),
        ("rknn.set_core_mask", {"core_mask": 1.0}),
        ("rknn.mem_sync", {"mem": MEM, "mode": 2.0, "read": True, "offset": 0.0, "size": 4.0}),
        ("rknn.outputs_get", {"num_outputs": 1.0, "top_k": 1.0}),
        ("rknn.query", {"cmd": 16.0, "index": 0.0}),
        ("rknn.run", {"context": CTX}),
        (
            "rknn.B_normal_layout_to_native_layout",
            {"B_input": b64(bytes(1024)), "K": 32.0, "N": 32.0, "info": {"type": 2.0}},
        ),
        ("rknn.matmul_create", {"info": {"M": 1.0, "K": 32.0, "N": 32.0, "type": 2.0}}),
    ],
)
def test_a_whole_number_with_a_point_is_an_integer(loaded: tuple[Client, int], method: str, params: Any) -> None:
    """JSON Schema says so, and JavaScript makes no difference."""
    wire, context = loaded
    wire.result("rknn.run", {"input_data": b64(BYTES)})
    handles = {CTX: context, MEM: wire.memory(context, bytes(16))}
    wire.result(method, filled(params, handles))


@pytest.mark.parametrize("type_number", ["RKNN_TENSOR_TYPE_MAX", 12])
def test_the_end_of_the_types_is_no_type(loaded: tuple[Client, int], type_number: Any) -> None:
    wire, context = loaded
    refused = wire.refused("rknn.inputs_set", {"inputs": [{"buf": b64(BYTES), "type": type_number}]})
    assert refused["kind"] == "InvalidParams"
    params = {"mem": wire.memory(context, bytes(16)), "attr": {"index": 0, "type": type_number}}
    assert wire.refused("rknn.set_io_mem", params)["kind"] == "InvalidParams"


def test_a_native_memory_has_the_size_of_the_shape_that_is_set(simulator: Client, board: Simulator) -> None:
    text = b"RKNNSIM\ninput name=x type=int8 dims=1,4,4,3|1,8,8,3\noutput name=y type=int8 dims=1,20,4,4|1,20,8,8\n"
    context = simulator.load(text)
    simulator.result("rknn.set_input_shapes", {"attr": [{"dims": [1, 8, 8, 3]}]})
    mem = simulator.memory(context, bytes(512))  # enough for the native layout of the first shape
    calls = board.daemon.calls("rknn_set_io_mem")
    attr = {"name": "y", "fmt": "RKNN_TENSOR_NC1HWC2"}
    refused = simulator.refused("rknn.set_io_mem", {"mem": mem, "attr": attr})
    assert (refused["kind"], refused.get("limit")) == ("InvalidParams", 2048)
    assert board.daemon.calls("rknn_set_io_mem") == calls, "the runtime does not see it"
    big = simulator.memory(context, bytes(2048))
    assert simulator.result("rknn.set_io_mem", {"mem": big, "attr": attr})["size"] == 2048


@pytest.mark.parametrize("part", [(-1, 10), (0, 10_000), (10_000, 10), (2**31 - 1, 2**31 - 1)])
def test_a_part_of_a_model_lies_within_its_file(
    simulator: Client, board: Simulator, part: tuple[int, int], tmp_path: Path
) -> None:
    loads = board.daemon.calls("rknn_init")
    extend = {"real_model_offset": part[0], "real_model_size": part[1]}
    file = tmp_path / "models"
    file.write_bytes(b"..." + ECHO)
    for model in ({"model": {"data": b64(ECHO)}}, {"model_path": str(file)}):
        refused = simulator.refused("rknn.init", {**model, "extend": extend})
        assert refused["kind"] == "InvalidParams", "the runtime would read what lies beside it"
    assert board.daemon.calls("rknn_init") == loads
    extend = {"real_model_offset": 3, "real_model_size": len(ECHO)}
    simulator.result("rknn.init", {"model_path": str(file), "extend": extend})
    assert simulator.infer(b64(BYTES))[0].tobytes() == BYTES

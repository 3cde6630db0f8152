"""Wrong parameters of RKNN's functions: each refusal names the place, and a good request works after it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.rknn.board import BYTES, DIGITS, ECHO, Client, Simulator, b64, shared
from tests.rknn.errors.placeholders import BIND, CTX, INFO, MEM, SMALL, filled, held_by

# What the daemon refuses before the runtime sees it: method, params, JSON path, keyword.
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

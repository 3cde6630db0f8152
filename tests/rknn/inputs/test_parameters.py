"""The forms of parameters, and of the tensors in them (protocol, sections 3 and 5)."""

from __future__ import annotations

import json
import mmap
import os
import socket
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from tests.portable.rknn.graphs import dynamic, floats, identity, reference
from tests.rknn.board import BYTES, DIGITS, ECHO, Client, Simulator, b64, memfd, numbers, shared, tensor

BIG = np.random.default_rng(1).integers(0, 256, 1_000_000, dtype=np.uint8)
U8 = {"type": "RKNN_TENSOR_UINT8"}


# The examples of the design


def test_a_model_is_loaded_as_the_design_says(simulator: Client, board: Simulator) -> None:
    line = {"jsonrpc": "2.0", "id": 3, "method": "rknn.init"}
    params = {"model_path": str(board.daemon.model), "core_mask": 1}
    simulator.send(json.dumps({**line, "params": params}).encode() + b"\n")
    answer = simulator.final(3)
    assert answer["result"].keys() == {"success", "status", "context", "n_input", "n_output"}
    assert board.seen("leave", "rknn_set_core_mask")[-1] == "0"


def test_a_model_is_run_as_the_design_says(portable: Client) -> None:
    portable.load(identity(TensorProto.UINT8, [8]))
    line = '{"jsonrpc":"2.0","id":4,"method":"rknn.run","params":{"input_data":"%s"}}\n' % b64(BYTES)  # noqa: UP031
    portable.send(line.encode())
    assert portable.final(4)["result"]["success"] is True
    assert numbers(portable.result("rknn.outputs_get")["outputs"][0]).tobytes() == BYTES


# Positional, named, flat


@pytest.mark.parametrize("form", ["positional", "named", "flat", "alias", "left out"])
def test_inputs_are_set_in_each_form(portable: Client, form: str) -> None:
    context = portable.load(identity(TensorProto.UINT8, [8]))
    forms: dict[str, Any] = {
        "positional": [context, None, [{"index": 0, "buf": b64(BYTES)}]],
        "named": {"context": context, "inputs": [{"index": 0, "buf": b64(BYTES)}]},
        "flat": {"context": context, "index": 0, "buf": b64(BYTES), "fmt": 3},
        "alias": {"ctx": context, "inputs": {"data": b64(BYTES)}},
        "left out": [[{"buf": b64(BYTES)}]],
    }
    portable.result("rknn.inputs_set", forms[form])
    portable.result("rknn.run", [context] if form == "positional" else None)
    assert numbers(portable.result("rknn.outputs_get")["outputs"][0]).tobytes() == BYTES


@pytest.mark.parametrize("form", ["positional", "named", "flat"])
def test_shapes_are_set_in_each_form(portable: Client, form: str) -> None:
    context = portable.load(dynamic())
    attr = {"dims": [2, 5, 4, 3]}
    forms: dict[str, Any] = {
        "positional": [context, 1, [attr]],
        "named": {"ctx": context, "attr": [attr]},
        "flat": attr,
    }
    if form == "positional":
        forms[form] = [context, None, [attr]]
    portable.result("rknn.set_input_shapes", forms[form])
    current = portable.result("rknn.query", [context, "RKNN_QUERY_CURRENT_INPUT_ATTR"])
    assert current["dims"] == [2, 5, 4, 3]


@pytest.mark.parametrize("form", ["positional", "named", "flat"])
def test_a_matmul_is_made_in_each_form(portable: Client, form: str) -> None:
    info = {"M": 2, "K": 32, "N": 32, "type": "RKNN_INT8_MM_INT8_TO_INT32"}
    forms: dict[str, Any] = {"positional": [None, info, None], "named": {"info": info}, "flat": info}
    portable.result("rknn.matmul_create", forms[form])
    assert portable.result("server.status")["matmuls"][0]["shape"] == [2, 32, 32]


@pytest.mark.parametrize("form", ["positional", "short", "named", "names"])
def test_a_memory_is_made_bound_and_freed_in_each_form(portable: Client, form: str) -> None:
    context = portable.load(identity(TensorProto.UINT8, [8]))
    is_array = form in ("positional", "short")
    made: Any = [context, 8] if is_array else {"ctx": context, "size": 8}
    mem = portable.result("rknn.create_mem", made)["mem"]
    bind: Any = [context, mem, {"index": 0}] if is_array else {"mem": mem, "attr": {"index": 0}}
    if form == "names":
        bind = {"mem": mem, "name": "x"}
    assert portable.result("rknn.set_io_mem", bind)["size"] == 8
    sync: Any = [None, mem, 1] if is_array else {"mem": mem, "mode": "RKNN_MEMORY_SYNC_TO_DEVICE"}
    portable.result("rknn.mem_sync", sync)
    assert portable.result("rknn.destroy_mem", [context, mem] if is_array else {"mem": mem})["success"] is True


@pytest.mark.parametrize("form", [[2], ["RKNN_QUERY_OUTPUT_ATTR", {"index": 0}], {"cmd": 2, "index": 0}])
def test_a_query_takes_numbers_names_and_an_index(portable: Client, form: Any) -> None:
    context = portable.load(floats())
    params = [context, *form] if isinstance(form, list) else form
    assert portable.result("rknn.query", params)["name"] == "y"


def test_flags_are_a_number_or_names(simulator: Client) -> None:
    for flag in (8, ["RKNN_FLAG_COLLECT_PERF_MASK"], ["RKNN_FLAG_PRIOR_MEDIUM", "RKNN_FLAG_COLLECT_PERF_MASK"]):
        context = simulator.load(ECHO, flag=flag)
        simulator.infer(b64(BYTES), context)
        params = {"context": context, "cmd": "RKNN_QUERY_PERF_DETAIL"}
        assert simulator.result("rknn.query", params)["rows"], "the flag arrived"


# A model's bytes


@pytest.mark.parametrize("form", ["path", "model_path", "positional", "base64", "fd", "part of an fd"])
def test_a_model_comes_by_path_by_base64_and_by_descriptor(portable: Client, form: str) -> None:
    content = DIGITS.read_bytes()
    with shared(b"xyz" + content if form.startswith("part") else content) as fd:
        forms: dict[str, Any] = {
            "path": {"model": str(DIGITS)},
            "model_path": {"model_path": str(DIGITS)},
            "positional": [None, str(DIGITS), None, 0],
            "base64": {"model": {"data": b64(content)}},
            "fd": {"model": {"fd": 0}},
            "part of an fd": {"model": {"fd": 0, "offset": 3, "size": len(content)}},
        }
        portable.result("rknn.init", forms[form], fds=[fd] if form.endswith("fd") else [])
    status = portable.result("server.status")["contexts"][0]
    assert status["size_bytes"] == len(content)
    assert portable.infer(b64(bytes(6912)))[0].shape == (1, 10)


def test_a_model_comes_from_a_memory_too(simulator: Client) -> None:
    mem = simulator.memory(simulator.load(ECHO), ECHO)
    context = simulator.result("rknn.init", {"model": {"mem": mem}})["context"]
    assert simulator.infer(b64(BYTES), context)[0].tobytes() == BYTES


# Tensors into the runtime


def as_input(form: str, content: bytes, wire: Client, context: int) -> tuple[Any, list[int]]:
    """Return a tensor's JSON in this form, and the descriptors that go with it."""
    if form == "array":
        return list(content), []
    if form == "nested":
        return [list(content[:4]), list(content[4:])], []
    if form == "base64":
        return b64(content), []
    if form == "data":
        return {"data": b64(content), "dtype": "uint8", "shape": [len(content)]}, []
    if form == "fd":
        wire.descriptors.append(memfd(b"--" + content))
        return {"fd": 0, "offset": 2, "size": len(content)}, wire.descriptors[-1:]
    mem = wire.memory(context, b"--" + content)
    return {"mem": mem, "offset": 2, "size": len(content)}, []


FORMS = ["array", "nested", "base64", "data", "fd", "mem"]


@pytest.mark.parametrize("form", FORMS)
def test_inputs_set_takes_each_form(portable: Client, form: str) -> None:
    context = portable.load(identity(TensorProto.UINT8, [8]))
    value, fds = as_input(form, BYTES, portable, context)
    portable.result("rknn.inputs_set", {"inputs": [{"buf": value, **U8}]}, fds=fds)
    portable.result("rknn.run")
    assert numbers(portable.result("rknn.outputs_get")["outputs"][0]).tobytes() == BYTES


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", ["rknn.run", "rknn.infer"])
def test_run_and_infer_take_each_form(portable: Client, method: str, form: str) -> None:
    context = portable.load(identity(TensorProto.UINT8, [8]))
    value, fds = as_input(form, BYTES, portable, context)
    name = "input_data" if method == "rknn.run" else "inputs"
    given = [{"buf": value, **U8}] if form in ("array", "nested") else value
    params = {name: given} | ({"outputs": True} if method == "rknn.run" else {})
    result = portable.result(method, params, fds=fds)
    assert numbers(result["outputs"][0]).tobytes() == BYTES


def test_bare_numbers_are_floats(portable: Client) -> None:
    portable.load(identity(TensorProto.FLOAT, [2, 2]))
    assert portable.infer([[1, 2.5], [-3, 4]])[0].tolist() == [[1, 2.5], [-3, 4]]


@pytest.mark.parametrize("form", FORMS)
def test_mem_sync_writes_each_form(portable: Client, form: str) -> None:
    context = portable.load(floats())
    value, fds = as_input(form, BYTES, portable, context)
    mem = portable.memory(context, b"\xff" * 12)
    params = {"mem": mem, "mode": 1, "data": value, "offset": 3}
    portable.result("rknn.mem_sync", params, fds=fds)
    assert portable.contents(mem) == b"\xff" * 3 + BYTES + b"\xff"


def test_a_megabyte_by_descriptor_is_what_base64_gives(portable: Client) -> None:
    portable.load(identity(TensorProto.UINT8, [len(BIG)]))
    assert portable.infer(b64(BIG))[0].tobytes() == BIG.tobytes()
    with shared(BIG.tobytes()) as fd:
        result = portable.result("rknn.infer", {"inputs": {"fd": 0}}, fds=[fd], reply_fds=True)
    (output,) = result["outputs"]
    assert mapped(portable, output) == BIG.tobytes()


def test_two_descriptors_are_told_apart(portable: Client) -> None:
    portable.load(identity(TensorProto.UINT8, [8]))
    with shared(bytes(8)) as first, shared(BYTES) as second:
        result = portable.result("rknn.infer", {"inputs": {"fd": 1}}, fds=[first, second])
    assert numbers(result["outputs"][0]).tobytes() == BYTES


# Tensors out of it


def mapped(wire: Client, output: dict[str, Any]) -> bytes:
    """Return what the descriptor of a tensor shows."""
    fd = wire.descriptors[output["fd"]]
    offset = output.get("offset", 0)
    return os.pread(fd, output["size"], offset)


def test_outputs_come_by_descriptor_when_asked_for(portable: Client) -> None:
    portable.load(identity(TensorProto.UINT8, [8]))
    (output,) = portable.result("rknn.infer", {"inputs": b64(BYTES)}, reply_fds=True)["outputs"]
    assert {name: output[name] for name in ("fd", "size", "dtype", "shape")} == {
        "fd": 0,
        "size": 8,
        "dtype": "uint8",
        "shape": [8],
    }
    assert "data" not in output
    assert mapped(portable, output) == BYTES
    portable.result("rknn.run", {"input_data": b64(BYTES[::-1])})
    got = portable.result("rknn.outputs_get", None, reply_fds=True)["outputs"][0]
    assert os.pread(portable.descriptors[1], got["size"], 0) == BYTES[::-1]
    with pytest.raises(PermissionError):
        os.write(portable.descriptors[1], b"x")  # a result can't be changed


def test_a_memory_shared_by_descriptor_is_one_memory(portable: Client) -> None:
    context = portable.load(identity(TensorProto.UINT8, [8]))
    made = portable.result("rknn.create_mem", {"ctx": context, "size": 8}, reply_fds=True)
    view = mmap.mmap(portable.descriptors[made["fd"]], 8 + made["offset"])
    view[made["offset"] :] = BYTES
    portable.result("rknn.mem_sync", {"mem": made["mem"], "mode": 1})
    assert portable.infer({"mem": made["mem"]})[0].tobytes() == BYTES
    portable.result("rknn.mem_sync", {"mem": made["mem"], "mode": 3, "data": b64(BYTES[::-1])})
    assert view[made["offset"] :] == BYTES[::-1]
    view.close()


def test_contents_of_a_memory_come_by_descriptor(portable: Client) -> None:
    mem = portable.memory(portable.load(floats()), BYTES)
    params = {"mem": mem, "mode": 2, "read": True, "offset": 1, "size": 3}
    answer = portable.result("rknn.mem_sync", params, reply_fds=True)
    assert mapped(portable, answer) == BYTES[1:4]


def test_an_output_is_written_to_the_clients_memory(portable: Client) -> None:
    context = portable.load(identity(TensorProto.UINT8, [8]))
    portable.result("rknn.run", {"input_data": b64(BYTES)})
    with shared(bytes(10)) as fd:
        asked = [{"index": 0, "is_prealloc": 1, "buf": {"fd": 0, "offset": 1, "size": 8}}]
        (output,) = portable.result("rknn.outputs_get", {"outputs": asked}, fds=[fd])["outputs"]
        assert "data" not in output
        assert os.pread(fd, 10, 0) == b"\0" + BYTES + b"\0"
    mem = portable.memory(context, bytes(40))
    asked = [{"is_prealloc": True, "want_float": True, "buf": {"mem": mem, "offset": 4}}]
    (output,) = portable.result("rknn.outputs_get", {"outputs": asked})["outputs"]
    assert (output["dtype"], output["size"]) == ("float32", 32)
    assert np.frombuffer(portable.contents(mem)[4:36], np.float32).tolist() == list(range(8))


def test_each_output_may_be_asked_for_in_its_own_way(portable: Client) -> None:
    portable.load(dynamic())
    given = np.arange(24, dtype=np.float32).reshape(1, 2, 4, 3)
    portable.result("rknn.set_input_shapes", {"attr": [{"dims": [1, 2, 4, 3]}]})
    portable.result("rknn.run", {"input_data": tensor(given)})
    _, total = reference(dynamic(), {"x": np.ascontiguousarray(given.transpose(0, 3, 1, 2))})
    (output,) = portable.result("rknn.outputs_get", {"outputs": [{"index": 1}]})["outputs"]
    assert (output["name"], numbers(output).tobytes()) == ("total", total.tobytes())
    (output,) = portable.result("rknn.outputs_get", {"num_outputs": 1})["outputs"]
    assert output["name"] == "y"
    both = portable.result("rknn.outputs_get", {"encoding": "array"})["outputs"]
    assert both[1]["data"] == total.ravel().tolist()
    best = portable.result("rknn.outputs_get", {"top_k": 1})["outputs"][1]["top"]
    assert best == [{"index": int(total.argmax()), "score": float(total.max())}]


def test_want_float_is_a_boolean_or_cs_number(simulator: Client) -> None:
    simulator.load(b"RKNNSIM\ninput name=x type=int8 dims=4\noutput name=y type=int8 dims=4 scale=0.25 zp=4\n")
    given = {"data": b64(np.array([4, 8, 0, -4], np.int8)), "dtype": "int8"}
    for want in (True, 1):
        assert simulator.infer(given, want_float=want)[0].tolist() == [0, 1, -1, -2]
        simulator.result("rknn.run")
        (output,) = simulator.result("rknn.outputs_get", {"want_float": want})["outputs"]
        assert numbers(output).tolist() == [0, 1, -1, -2]
    for plain in (False, 0):
        (output,) = simulator.result("rknn.infer", {"inputs": given, "want_float": plain})["outputs"]
        assert (numbers(output).tolist(), output["scale"], output["zp"]) == ([4, 8, 0, -4], 0.25, 4)


def test_int4_and_bfloat16_travel_both_ways(simulator: Client) -> None:
    text = b"RKNNSIM\ninput name=x type=%s dims=4\noutput name=y type=%s dims=4\n"
    for dtype, values, packed in (
        ("int4", [1, -2, 7, -8], b"\xe1\x87"),
        ("bfloat16", [1.0, -2.5, 0.0, 3.0], b"\x80\x3f\x20\xc0\x00\x00\x40\x40"),
    ):
        context = simulator.load(text % (dtype.encode(), dtype.encode()))
        kind = f"RKNN_TENSOR_{dtype.upper()}"
        for buf in (values, {"data": b64(packed), "dtype": dtype}):
            params = {"context": context, "inputs": [{"buf": buf, "type": kind}]}
            (output,) = simulator.result("rknn.infer", params)["outputs"]
            assert (output["dtype"], output["data"]) == (dtype, b64(packed))
            (output,) = simulator.result("rknn.infer", {**params, "encoding": "array"})["outputs"]
            assert output["data"] == values


def test_a_batch_and_a_notification_have_no_reply_to_put_descriptors_in(portable: Client) -> None:
    portable.load(identity(TensorProto.UINT8, [8]))
    params = {"inputs": b64(BYTES)}
    call = {"jsonrpc": "2.0", "id": 1, "method": "rknn.infer", "params": params, "reply_fds": True}
    portable.send(json.dumps([call]).encode() + b"\n")
    (answer,) = portable.receive()
    assert answer["error"]["data"]["member"] == "reply_fds"
    portable.send(json.dumps([{**call, "reply_fds": False}]).encode() + b"\n")
    (answer,) = portable.receive()
    assert numbers(answer["result"]["outputs"][0]).tobytes() == BYTES
    assert portable.descriptors == []


def test_a_descriptor_in_another_write_than_its_line_is_found(portable: Client) -> None:
    portable.load(identity(TensorProto.UINT8, [8]))
    line = {"jsonrpc": "2.0", "id": 9, "method": "rknn.infer", "params": {"inputs": {"fd": 0}}, "fds": 1}
    whole = json.dumps(line).encode() + b"\n"
    with shared(BYTES) as fd:
        socket.send_fds(portable.socket, [whole[:20]], [fd])
        portable.send(whole[20:])
        assert numbers(portable.final(9)["result"]["outputs"][0]).tobytes() == BYTES

"""Not supported, not allowed, not there, not yours; and the limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from tests.portable.rknn.graphs import dynamic, floats, identity
from tests.rknn.board import BYTES, DIGITS, ECHO, Client, Simulator, b64, client, operator_library, shared, tensor
from tests.rknn.errors.placeholders import INFO, held_by


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

"""What the runtime itself refuses: statuses with their names and the runtime's lines, and what is left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.portable.rknn.graphs import gather
from tests.rknn.board import BYTES, ECHO, Client, Simulator, b64, tensor
from tests.rknn.errors.placeholders import BIND, CTX, INFO, MEM, filled, held_by


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

"""Cases of the functions of matrix multiplication."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.rknn.board import BYTES, Client, b64, numbers
from tests.rknn.functions.cases import INT8, OK, case


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

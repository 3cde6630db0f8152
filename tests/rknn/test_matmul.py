"""Matrices multiplied end to end, through tensor memories, exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.rknn.board import Array, Client, b64, numbers

RNG = np.random.default_rng(11)
RUNTIMES = ["portable", "simulator"]


@pytest.fixture
def wire(request: pytest.FixtureRequest) -> Client:
    """Return a connection to the runtime that the test is parametrized with."""
    found: Client = request.getfixturevalue(request.param)
    return found


def bind(wire: Client, context: int, io_attr: dict[str, Any], **contents: bytes) -> int:
    """Bind memories with these contents, and one for C; return C's."""
    for letter, content in {**contents, "C": bytes(io_attr["C"]["size"])}.items():
        assert len(content) == io_attr[letter]["size"]
        mem = wire.memory(context, content)
        wire.result("rknn.matmul_set_io_mem", {"ctx": context, "mem": mem, "attr": {"name": letter}})
    return mem


def native_b(wire: Client, b: Array, kind: str) -> Array:
    """Return B as the NPU reads it."""
    k, n = b.shape
    params = {"B_input": b64(b), "K": k, "N": n, "info": {"type": kind, "B_layout": "RKNN_MM_LAYOUT_NATIVE"}}
    return numbers(wire.result("rknn.B_normal_layout_to_native_layout", params)["B_output"])


@pytest.mark.parametrize("layout", ["RKNN_MM_LAYOUT_NORM", "RKNN_MM_LAYOUT_NATIVE"])
@pytest.mark.parametrize("wire", RUNTIMES, indirect=True)
def test_int8_is_exact(wire: Client, layout: str) -> None:
    m, k, n = 5, 96, 64
    a: Array = RNG.integers(-128, 128, (m, k), dtype=np.int8)
    b: Array = RNG.integers(-128, 128, (k, n), dtype=np.int8)
    kind = "RKNN_INT8_MM_INT8_TO_INT32"
    made = wire.result("rknn.matmul_create", {"info": {"M": m, "K": k, "N": n, "type": kind, "B_layout": layout}})
    attr = made["io_attr"]
    assert [attr[name]["type"] for name in "ABC"] == ["RKNN_TENSOR_INT8", "RKNN_TENSOR_INT8", "RKNN_TENSOR_INT32"]
    stored = native_b(wire, b, kind) if layout.endswith("NATIVE") else b
    c = bind(wire, made["context"], attr, A=a.tobytes(), B=stored.tobytes())
    exact = a.astype(np.int64) @ b.astype(np.int64)
    for _ in range(2):
        wire.result("rknn.matmul_run")
        assert np.frombuffer(wire.contents(c), np.int32).reshape(m, n).tolist() == exact.tolist()


@pytest.mark.parametrize("wire", RUNTIMES, indirect=True)
def test_the_greatest_sums_do_not_overflow(wire: Client) -> None:
    m, k, n = 1, 1024, 32
    made = wire.result("rknn.matmul_create", {"info": {"M": m, "K": k, "N": n, "type": 2}})
    low = np.full(k * n, -128, np.int8).tobytes()
    c = bind(wire, made["context"], made["io_attr"], A=low[:k], B=low)
    wire.result("rknn.matmul_run")
    assert np.frombuffer(wire.contents(c), np.int32).tolist() == [128 * 128 * k] * n


@pytest.mark.parametrize("wire", RUNTIMES, indirect=True)
def test_float16(wire: Client) -> None:
    m, k, n = 3, 64, 32
    a = RNG.integers(-8, 9, (m, k)).astype(np.float16)
    b = (RNG.integers(-8, 9, (k, n)) / 4).astype(np.float16)
    made = wire.result("rknn.matmul_create", {"info": {"M": m, "K": k, "N": n, "type": 1}})
    c = bind(wire, made["context"], made["io_attr"], A=a.tobytes(), B=b.tobytes())
    wire.result("rknn.matmul_run")
    # Small numbers, so that every sum is exact in float32 in whatever order.
    exact = a.astype(np.float64) @ b.astype(np.float64)
    assert np.frombuffer(wire.contents(c), np.float32).reshape(m, n).tolist() == exact.tolist()


@pytest.mark.parametrize("wire", RUNTIMES, indirect=True)
def test_each_dynamic_shape(wire: Client) -> None:
    k, n = 64, 32
    shapes = [{"M": m, "K": k, "N": n} for m in (1, 4, 9)]
    b: Array = RNG.integers(-128, 128, (k, n), dtype=np.int8)
    params = {"info": {"type": "RKNN_INT8_MM_INT8_TO_INT32"}, "dynamic_shapes": shapes}
    made = wire.result("rknn.matmul_create_dynamic_shape", params)
    for number, shape in (*enumerate(shapes), (0, shapes[0])):
        attr = wire.result("rknn.matmul_set_dynamic_shape", {"shape": shape})["io_attr"]
        assert attr == made["io_attrs"][number]
        a: Array = RNG.integers(-128, 128, (shape["M"], k), dtype=np.int8)
        c = bind(wire, made["context"], attr, A=a.tobytes(), B=b.tobytes())
        wire.result("rknn.matmul_run")
        exact = a.astype(np.int64) @ b.astype(np.int64)
        assert np.frombuffer(wire.contents(c), np.int32).reshape(-1, n).tolist() == exact.tolist()


@pytest.mark.parametrize("wire", RUNTIMES, indirect=True)
def test_b_is_bound_once_for_all_shapes_that_share_it(wire: Client) -> None:
    shapes = [{"M": m, "K": 32, "N": 32} for m in (1, 4)]
    made = wire.result("rknn.matmul_create_dynamic_shape", {"info": {"type": 2}, "dynamic_shapes": shapes})
    b: Array = RNG.integers(-128, 128, (32, 32), dtype=np.int8)
    wire.result("rknn.matmul_set_dynamic_shape", {"shape": shapes[0]})
    of_b = wire.memory(made["context"], b.tobytes())
    wire.result("rknn.matmul_set_io_mem", {"ctx": made["context"], "mem": of_b, "attr": {"name": "B"}})
    for number, shape in enumerate(shapes):
        wire.result("rknn.matmul_set_dynamic_shape", {"shape": shape})
        assert "A is bound to no memory" in wire.refused("rknn.matmul_run")["message"], "as on a board"
        a: Array = RNG.integers(-128, 128, (shape["M"], 32), dtype=np.int8)
        c = bind(wire, made["context"], made["io_attrs"][number], A=a.tobytes())
        wire.result("rknn.matmul_run")
        exact = a.astype(np.int64) @ b.astype(np.int64)
        assert np.frombuffer(wire.contents(c), np.int32).reshape(-1, 32).tolist() == exact.tolist()


def test_b_is_bound_anew_where_its_shape_is_another(portable: Client) -> None:
    shapes = [{"M": 1, "K": 32, "N": 64}, {"M": 1, "K": 64, "N": 32}]
    made = portable.result(
        "rknn.matmul_create_dynamic_shape", {"info": {"type": 2, "B_layout": 2}, "dynamic_shapes": shapes}
    )
    bind(portable, made["context"], made["io_attrs"][0], A=bytes(32), B=bytes(2048))
    portable.result("rknn.matmul_set_dynamic_shape", {"shape": shapes[1]})
    bind(portable, made["context"], made["io_attrs"][1], A=bytes(64))
    assert "B is bound to no memory" in portable.refused("rknn.matmul_run")["message"]


def test_memories_of_a_smaller_shape_are_too_small_for_a_greater(portable: Client) -> None:
    shapes = [{"M": 1, "K": 32, "N": 32}, {"M": 8, "K": 32, "N": 32}]
    made = portable.result("rknn.matmul_create_dynamic_shape", {"info": {"type": 2}, "dynamic_shapes": shapes})
    bind(portable, made["context"], made["io_attrs"][0], A=bytes(32), B=bytes(1024))
    portable.result("rknn.matmul_run")
    portable.result("rknn.matmul_set_dynamic_shape", {"shape": shapes[1]})
    refused = portable.refused("rknn.matmul_run")
    assert (refused["kind"], refused["limit"]) == ("InvalidParams", 256)
    small = portable.memory(made["context"], bytes(255))
    refused = portable.refused("rknn.matmul_set_io_mem", {"mem": small, "attr": {"name": "A"}})
    assert (refused["path"], refused["keyword"], refused["limit"]) == ("$.mem", "minimum", 256)


@pytest.mark.parametrize("wire", RUNTIMES, indirect=True)
@pytest.mark.parametrize("columns", [False, True], ids=["layer", "channels"])
def test_scales_apply(wire: Client, columns: bool) -> None:
    m, k, n = 2, 32, 32
    a: Array = RNG.integers(-128, 128, (m, k), dtype=np.int8)
    b: Array = RNG.integers(-128, 128, (k, n), dtype=np.int8)
    info = {"M": m, "K": k, "N": n, "type": "RKNN_INT8_MM_INT8_TO_FLOAT32"}
    if columns:
        info["B_quant_type"] = "RKNN_QUANT_TYPE_PER_CHANNEL_SYM"
    made = wire.result("rknn.matmul_create", {"info": info})
    scales = [2.0 ** -(column % 4) for column in range(n)] if columns else [0.25]
    for name, scale in (("A", [0.5]), ("B", scales)):
        params = {"name": name, "scale": scale, "zp": [0] * len(scale)}
        assert wire.result("rknn.matmul_set_quant_params", {"params": params})["scale_len"] == len(scale)
    got = wire.result("rknn.matmul_get_quant_params", {"params": {"name": "B"}})["params"]
    assert got == {"name": "B", "scale": scales, "zp": [0] * len(scales)}
    c = bind(wire, made["context"], made["io_attr"], A=a.tobytes(), B=b.tobytes())
    wire.result("rknn.matmul_run")
    exact = (a.astype(np.float64) @ b.astype(np.float64)) * 0.5 * np.array(scales)
    assert np.frombuffer(wire.contents(c), np.float32).reshape(m, n).tolist() == exact.tolist()


def test_scales_come_as_base64_too(portable: Client) -> None:
    portable.result("rknn.matmul_create", {"info": {"M": 1, "K": 32, "N": 32, "type": 9}})
    scale = {"data": b64(np.array([0.125], np.float32)), "dtype": "float32"}
    zero = {"data": b64(np.array([0], np.int32)), "dtype": "int32"}
    portable.result("rknn.matmul_set_quant_params", {"params": {"name": "A", "scale": scale, "zp": zero}})
    answer = portable.result("rknn.matmul_get_quant_params", {"params": {"name": "A"}})
    assert (answer["scale"], answer["params"]["scale"]) == (0.125, [0.125])


def test_a_name_that_is_no_matrix_is_refused(portable: Client) -> None:
    context = portable.result("rknn.matmul_create", {"info": {"M": 1, "K": 32, "N": 32, "type": 9}})["context"]
    mem = portable.memory(context, bytes(2048))
    for method, params, path in (
        ("rknn.matmul_set_io_mem", {"mem": mem, "attr": {"name": "D"}}, "$.attr.name"),
        ("rknn.matmul_set_quant_params", {"params": {"name": "D", "scale": [1]}}, "$.params.name"),
        ("rknn.matmul_get_quant_params", {"params": {"name": ""}}, "$.params.name"),
    ):
        refused = portable.refused(method, params)
        assert (refused["kind"], refused["path"]) == ("InvalidParams", path)
    refused = portable.refused("rknn.matmul_set_io_mem", {"mem": mem, "attr": {"name": "A", "size": 31}})
    assert (refused["path"], refused["limit"]) == ("$.attr.size", 32)


def test_several_matmuls_keep_apart(portable: Client) -> None:
    contexts = {}
    for factor in (1, 3):
        made = portable.result("rknn.matmul_create", {"info": {"M": 1, "K": 32, "N": 32, "type": 2}})
        b = (np.eye(32) * factor).astype(np.int8)
        ones = np.ones(32, np.int8).tobytes()
        contexts[made["context"]] = bind(portable, made["context"], made["io_attr"], A=ones, B=b.tobytes()), factor
    assert portable.refused("rknn.matmul_run")["kind"] == "AmbiguousHandle"
    for context in contexts:
        portable.result("rknn.matmul_run", {"ctx": context})
    for mem, factor in contexts.values():
        assert np.frombuffer(portable.contents(mem), np.int32).tolist() == [factor] * 32

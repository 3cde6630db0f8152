"""RKNN's simulator does what README.md says: other tests' scenarios rest on it."""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rkllmd.abi.layouts import rknn, rknn_custom_op, rknn_matmul
from rkllmd.abi.layouts.rknn_constants import rknn_error
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_layout, rknn_matmul_type
from tests.simulator.build import build_operator, build_rknn
from tests.simulator.rknn_player import SIGNATURES, Flag, Format, Matmul, Query, RknnSimulator, Type, content
from tests.simulator.trace import live, overlaps

ROOT = Path(__file__).parents[2]
ANY = b"any bytes"  # the default model
IMAGE = bytes(range(48))
SUM = sum(IMAGE)
Script = Callable[[str], None]

TWO = b"""RKNNSIM
# two of each, and shapes
input name=pixels type=uint8 dims=1,2,2,3|1,4,2,3
input name=state type=float32 dims=2,5
output name=same type=uint8 dims=1,3,2,2|1,3,4,2
output name=other type=float16 dims=1,4
weights 100000
internal 5000
string hello, world
"""
SCALED = b"""RKNNSIM
input name=x type=int8 dims=1,8 scale=0.5 zp=2
output name=y type=int8 dims=1,8 scale=0.5 zp=2
operator type=Scale output=0 name:string=twice factor:float32=3 axes:int64=-1,2
"""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_rknn("2.3.2", tmp_path_factory.mktemp("rknn"))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return lambda text: monkeypatch.setenv("RKNN_SIMULATOR", text)


@pytest.fixture
def complaints() -> list[str]:
    """Return what the test expects the simulator to complain about: parts of its lines, in order."""
    return []


@pytest.fixture
def simulator(
    built: Path, tmp_path: Path, script: Script, capfd: pytest.CaptureFixture[str], complaints: list[str]
) -> Iterator[RknnSimulator]:
    """Give a copy of its own, so that its counters start at zero; at the end, judge what it said."""
    script("log=none")
    yield RknnSimulator(Path(shutil.copy(built, tmp_path)))
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("SIMULATOR:")]
    assert len(said) == len(complaints), said
    for line, expected in zip(said, complaints, strict=True):
        assert expected in line


@pytest.fixture
def traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[str]]]:
    path = tmp_path / "trace"
    monkeypatch.setenv("RKLLM_SIMULATOR_TRACE", str(path))
    return lambda: [line.split() for line in path.read_text().splitlines()]


def wrapped(number: int) -> int:
    return (number + 128) % 256 - 128


def signed(data: bytes) -> list[int]:
    return list(array("b", data))


# ---- the binary -----------------------------------------------------------------------------------------------------


def test_binary_names_its_version_and_exports_all_functions(tmp_path: Path) -> None:
    path = build_rknn("9.9.9", tmp_path)
    assert path.name == "librknnrt.so"
    assert b"librknnrt version: 9.9.9 (429f97ae6b@2025-04-09T09:09:27)" in path.read_bytes()
    library = ctypes.CDLL(str(path))
    assert len(SIGNATURES) == 35
    assert all(hasattr(library, name) for name in SIGNATURES)
    assert build_rknn("9.9.9", tmp_path) == path
    with pytest.raises(ValueError, match="characters"):
        build_rknn("../1", tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "text=a",
        "init=explode",
        "run=error",
        "fault.rknn_run=hang",
        "return.rknn_create_mem=1",
        "print_at=3",
        "run_us=x",
    ],
)
def test_a_mistake_in_the_scenario_makes_init_fail(
    simulator: RknnSimulator, script: Script, text: str, complaints: list[str]
) -> None:
    script(text)
    complaints.append("scenario: ")
    assert simulator.init(ANY).status == -1


def test_a_file_is_read_by_every_call(simulator: RknnSimulator, script: Script, tmp_path: Path) -> None:
    path = tmp_path / "scenario"
    path.write_text("log=none\n")
    script(f"@{path}")
    context = simulator.init(ANY)
    path.write_text("log=none\nreturn.rknn_set_core_mask=-3\n")
    assert context.set_core_mask(1) == -3
    path.write_text("log=none\n")
    assert context.set_core_mask(1) == 0
    context.destroy()


# ---- models ---------------------------------------------------------------------------------------------------------


def test_default_model(simulator: RknnSimulator, tmp_path: Path) -> None:
    path = tmp_path / "empty.rknn"
    path.touch()
    context = simulator.init(path)
    assert context.status == 0
    counts = context.ask(Query.RKNN_QUERY_IN_OUT_NUM, rknn.rknn_input_output_num())
    assert (counts.n_input, counts.n_output) == (1, 1)
    image = context.attr(Query.RKNN_QUERY_INPUT_ATTR)
    assert (image.name, list(image.dims[: image.n_dims]), image.n_elems, image.size) == (b"image", [1, 4, 4, 3], 48, 48)
    assert (image.fmt, image.type, image.qnt_type) == (Format.RKNN_TENSOR_NHWC, Type.RKNN_TENSOR_INT8, 2)
    assert (image.scale, image.zp, image.w_stride, image.size_with_stride) == (0.5, -3, 4, 48)
    scores = context.attr(Query.RKNN_QUERY_OUTPUT_ATTR)
    assert (scores.name, list(scores.dims[:2]), scores.fmt) == (b"scores", [1, 10], Format.RKNN_TENSOR_UNDEFINED)
    assert (scores.scale, scores.zp) == (0.25, 4)
    assert context.destroy() == 0
    assert simulator.live() == (0, 0, 0)


def test_described_model(simulator: RknnSimulator) -> None:
    context = simulator.init(TWO)
    sizes = context.ask(Query.RKNN_QUERY_MEM_SIZE, rknn.rknn_mem_size())
    assert (sizes.total_weight_size, sizes.total_internal_size, sizes.total_dma_allocated_size) == (
        *(100000, 5000),
        105000,
    )
    assert context.ask(Query.RKNN_QUERY_CUSTOM_STRING, rknn.rknn_custom_string()).string == b"hello, world"
    version = context.ask(Query.RKNN_QUERY_SDK_VERSION, rknn.rknn_sdk_version())
    assert (version.api_version, version.drv_version) == (b"2.3.2 (429f97ae6b@2025-04-09T09:09:27)", b"0.9.8")
    native = context.attr(Query.RKNN_QUERY_NATIVE_OUTPUT_ATTR)
    assert (list(native.dims[: native.n_dims]), native.fmt, native.size) == ([1, 1, 2, 2, 16], 2, 64)
    nhwc = context.attr(Query.RKNN_QUERY_NATIVE_NHWC_OUTPUT_ATTR)
    assert (list(nhwc.dims[: nhwc.n_dims]), nhwc.fmt) == ([1, 2, 2, 3], Format.RKNN_TENSOR_NHWC)
    assert context.attr(Query.RKNN_QUERY_OUTPUT_ATTR, 1).type == Type.RKNN_TENSOR_FLOAT16
    context.destroy()


def test_wrong_queries(simulator: RknnSimulator) -> None:
    context = simulator.init(ANY)
    attr = rknn.rknn_tensor_attr(index=1)
    size = ctypes.sizeof(attr)
    wrong = rknn_error.RKNN_ERR_PARAM_INVALID
    assert context.query(Query.RKNN_QUERY_INPUT_ATTR, ctypes.byref(attr), size) == wrong
    assert context.query(Query.RKNN_QUERY_INPUT_ATTR, ctypes.byref(attr), size - 1) == wrong
    assert context.query(Query.RKNN_QUERY_INPUT_ATTR, None, size) == wrong
    assert context.query(Query.RKNN_QUERY_DEVICE_MEM_INFO, ctypes.byref(attr), size) == wrong
    assert context.query(Query.RKNN_QUERY_CMD_MAX, ctypes.byref(attr), size) == wrong
    dynamic = rknn.rknn_input_range()
    assert context.query(Query.RKNN_QUERY_INPUT_DYNAMIC_RANGE, ctypes.byref(dynamic), ctypes.sizeof(dynamic)) == -6
    context.destroy()


@pytest.mark.parametrize(
    "line",
    [
        "colour name=x",
        "input name=x dims=1,0",
        "input name=x dims=1,2|1,2,3",
        "input dims=1",
        "input name=x",
        "input name=x dims=1 type=int9",
        "input name=x dims=1 fmt=nc1hwc2",
        "input name=x dims=99999,99999",
        "input name=x dims=1 scale=0",
        "input name=x dims",
        "operator output=0",
        "operator type=a axis=1",
        "operator type=a axis:int64=b",
        "operator type=a output=7",
        "weights many",
    ],
)
def test_a_mistake_in_a_description(simulator: RknnSimulator, line: str, complaints: list[str]) -> None:
    model = f"RKNNSIM\ninput name=a dims=1\noutput name=b dims=1\n{line}\n".encode()
    complaints.append("model: ")
    assert simulator.init(model).status == rknn_error.RKNN_ERR_MODEL_INVALID


def test_no_model(simulator: RknnSimulator, script: Script, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script("")
    assert simulator.init(b"NOT A MODEL").status == rknn_error.RKNN_ERR_MODEL_INVALID
    assert simulator.init(tmp_path / "none.rknn").status == rknn_error.RKNN_ERR_MODEL_INVALID
    said = capfd.readouterr().err
    assert "none.rknn failed: No such file" in said
    assert "rknn_init, load model failed!" in said
    assert simulator.rknn_init(None, b"", 0, 0, None) == rknn_error.RKNN_ERR_PARAM_INVALID


def test_a_model_inside_a_file(simulator: RknnSimulator, tmp_path: Path) -> None:
    path = tmp_path / "packed"
    path.write_bytes(b"header" + TWO + b"garbage")
    extend = rknn.rknn_init_extend(real_model_offset=6, real_model_size=len(TWO))
    context = simulator.init(path, extend=ctypes.byref(extend))
    assert context.attr(Query.RKNN_QUERY_INPUT_ATTR).name == b"pixels"
    context.destroy()


# ---- runs -----------------------------------------------------------------------------------------------------------


def test_run_sums(simulator: RknnSimulator) -> None:
    context = simulator.init(ANY)
    assert signed(context.play(IMAGE)[0]) == [wrapped(SUM + i) for i in range(10)]
    assert list(array("f", context.outputs(want_float=True)[0])) == [(wrapped(SUM + i) - 4) * 0.25 for i in range(10)]
    context.destroy()


def test_run_copies_equal_tensors(simulator: RknnSimulator) -> None:
    context = simulator.init(TWO)
    pixels, state = bytes(range(12)), array("f", range(10)).tobytes()
    assert context.set_input(pixels) == 0
    assert context.run(None) == rknn_error.RKNN_ERR_INPUT_INVALID
    assert context.set_input(state, Type.RKNN_TENSOR_FLOAT32, 1) == 0
    assert context.run(None) == 0
    same, other = context.outputs(2)
    assert same == pixels
    assert list(struct.unpack("4e", other)) == [wrapped(sum(pixels) + sum(state) + 1 + i) for i in range(4)]
    context.destroy()


def test_inputs_are_quantised(simulator: RknnSimulator) -> None:
    context = simulator.init(
        b"RKNNSIM\ninput name=a type=int8 dims=1,6 scale=0.5 zp=-3\noutput name=b type=int8 dims=1,6"
    )
    for kind, data in (
        (Type.RKNN_TENSOR_UINT8, bytes([0, 1, 2, 3, 60, 255])),
        (Type.RKNN_TENSOR_FLOAT32, array("f", [0, 1, 2, 3, 60, 255]).tobytes()),
        (Type.RKNN_TENSOR_FLOAT16, struct.pack("6e", 0, 1, 2, 3, 60, 255)),
        (Type.RKNN_TENSOR_INT8, bytes([253, 255, 1, 3, 117, 127])),
    ):
        assert context.set_input(data, kind) == 0
        assert context.run(None) == 0
        assert signed(context.outputs()[0]) == [-3, -1, 1, 3, 117, 127]
    context.destroy()


def test_order_of_elements(simulator: RknnSimulator) -> None:
    context = simulator.init(
        b"RKNNSIM\ninput name=a type=uint8 dims=1,2,3,4\noutput name=b type=uint8 dims=1,2,3,4 fmt=nhwc"
    )
    nchw = bytes(range(24))
    nhwc = bytes(nchw[c * 6 + h * 3 + w] for h, w, c in itertools.product(range(2), range(3), range(4)))
    assert context.set_input(nchw, fmt=Format.RKNN_TENSOR_NCHW) == 0
    assert context.run(None) == 0
    assert context.outputs() == [nhwc]
    output = context.attr(Query.RKNN_QUERY_NATIVE_OUTPUT_ATTR)
    memory = simulator.mem(context.handle, bytes(output.size))
    assert context.set_io_mem(memory, ctypes.byref(output)) == 0
    assert context.run(None) == 0
    assert content(memory) == b"".join(nhwc[i : i + 4] + bytes(12) for i in range(0, 24, 4))
    assert context.destroy_mem(memory) == 0
    context.destroy()


def test_wrong_inputs_and_outputs(simulator: RknnSimulator) -> None:
    context = simulator.init(ANY)
    wrong = rknn_error.RKNN_ERR_INPUT_INVALID
    assert context.set_input(IMAGE[1:]) == wrong
    assert context.set_input(IMAGE, index=1) == wrong
    assert context.set_input(IMAGE, 12) == wrong
    assert context.set_input(IMAGE, fmt=Format.RKNN_TENSOR_NC1HWC2) == wrong
    assert context.set_input(IMAGE, Type.RKNN_TENSOR_FLOAT32) == wrong
    assert context.inputs_set(1, None) == rknn_error.RKNN_ERR_PARAM_INVALID
    assert context.inputs_set(1, ctypes.byref(rknn.rknn_input())) == wrong
    assert context.inputs_set(2, (rknn.rknn_input * 2)()) == wrong
    output = rknn.rknn_output()
    wrong = rknn_error.RKNN_ERR_OUTPUT_INVALID
    assert context.outputs_get(1, ctypes.byref(output), None) == wrong
    context.play(IMAGE)
    assert context.outputs_get(2, (rknn.rknn_output * 2)(), None) == wrong
    assert context.outputs_get(1, ctypes.byref(rknn.rknn_output(index=1)), None) == wrong
    buffer = ctypes.create_string_buffer(39)
    output = rknn.rknn_output(1, 1, 0, ctypes.addressof(buffer), 39)
    assert context.outputs_get(1, ctypes.byref(output), None) == wrong
    assert context.outputs_get(1, None, None) == rknn_error.RKNN_ERR_PARAM_INVALID
    context.destroy()


def test_own_buffer_for_an_output(simulator: RknnSimulator) -> None:
    context = simulator.init(ANY)
    context.play(IMAGE)
    buffer = ctypes.create_string_buffer(16)
    output = rknn.rknn_output(0, 1, 0, ctypes.addressof(buffer), 16)
    extend = rknn.rknn_output_extend()
    assert context.outputs_get(1, ctypes.byref(output), ctypes.byref(extend)) == 0
    assert signed(buffer.raw[:10]) == [wrapped(SUM + i) for i in range(10)]
    assert (buffer.raw[10:], extend.frame_id) == (bytes(6), 1)
    assert context.outputs_release(1, ctypes.byref(output)) == 0
    context.destroy()


def test_flags(simulator: RknnSimulator) -> None:
    context = simulator.init(ANY, Flag.RKNN_FLAG_COLLECT_MODEL_INFO_ONLY)
    context.set_input(IMAGE)
    assert context.run(None) == rknn_error.RKNN_ERR_FAIL
    context.destroy()
    context = simulator.init(TWO, Flag.RKNN_FLAG_MEM_ALLOC_OUTSIDE)
    assert context.set_input(bytes(12)) == context.set_input(bytes(40), Type.RKNN_TENSOR_FLOAT32, 1) == 0
    assert context.run(None) == rknn_error.RKNN_ERR_FAIL
    weights, internal = simulator.mem(context.handle, bytes(100000)), simulator.mem(context.handle, bytes(5000))
    assert context.set_weight_mem(internal) == rknn_error.RKNN_ERR_PARAM_INVALID
    assert context.set_weight_mem(weights) == context.set_internal_mem(internal) == context.run(None) == 0
    assert context.destroy_mem(weights) == context.destroy_mem(internal) == context.destroy() == 0


def test_cores_and_priorities(simulator: RknnSimulator) -> None:
    context = simulator.init(ANY, Flag.RKNN_FLAG_PRIOR_LOW | Flag.RKNN_FLAG_ENABLE_SRAM)
    assert [context.set_core_mask(mask) for mask in (0, 1, 2, 4, 3, 7, 65535, 5, 65536)] == [0] * 7 + [-5] * 2
    assert [context.set_batch_core_num(number) for number in (1, 3, 0, 4)] == [0, 0, -5, -5]
    context.destroy()


def test_dup_and_shared_weights(simulator: RknnSimulator) -> None:
    context = simulator.init(TWO)
    twin = rknn.rknn_context()
    assert simulator.rknn_dup_context(ctypes.byref(context.handle), ctypes.byref(twin)) == 0
    assert simulator.rknn_dup_context(ctypes.byref(context.handle), None) == rknn_error.RKNN_ERR_PARAM_INVALID
    assert context.destroy() == 0
    counts = rknn.rknn_input_output_num()
    assert simulator.rknn_query(twin, Query.RKNN_QUERY_IN_OUT_NUM, ctypes.byref(counts), 8) == 0
    extend = rknn.rknn_init_extend(ctx=twin)
    sharing = simulator.init(TWO, Flag.RKNN_FLAG_SHARE_WEIGHT_MEM, ctypes.byref(extend))
    assert sharing.status == 0
    assert simulator.init(TWO, Flag.RKNN_FLAG_SHARE_WEIGHT_MEM).status == rknn_error.RKNN_ERR_CTX_INVALID
    assert simulator.live() == (2, 0, 0)
    assert simulator.rknn_destroy(twin) == sharing.destroy() == 0


def test_dynamic_shapes(simulator: RknnSimulator) -> None:
    context = simulator.init(TWO)
    dynamic = context.ask(Query.RKNN_QUERY_INPUT_DYNAMIC_RANGE, rknn.rknn_input_range())
    assert (dynamic.shape_number, dynamic.n_dims, dynamic.name) == (2, 4, b"pixels")
    assert [list(dynamic.dyn_range[i][:4]) for i in range(2)] == [[1, 2, 2, 3], [1, 4, 2, 3]]
    attrs = (rknn.rknn_tensor_attr * 2)(*(context.attr(Query.RKNN_QUERY_INPUT_ATTR, i) for i in range(2)))
    attrs[0].dims[1] = 3
    assert context.set_input_shapes(2, attrs) == rknn_error.RKNN_ERR_PARAM_INVALID
    attrs[0].dims[1] = 4
    assert context.set_input_shapes(1, attrs) == rknn_error.RKNN_ERR_PARAM_INVALID
    assert context.set_input_shapes(2, attrs) == 0
    assert context.attr(Query.RKNN_QUERY_INPUT_ATTR).size == 12
    assert context.attr(Query.RKNN_QUERY_CURRENT_INPUT_ATTR).size == 24
    assert list(context.attr(Query.RKNN_QUERY_CURRENT_OUTPUT_ATTR).dims[:4]) == [1, 3, 4, 2]
    assert context.attr(Query.RKNN_QUERY_CURRENT_NATIVE_OUTPUT_ATTR).n_dims == 5
    assert context.attr(Query.RKNN_QUERY_CURRENT_NATIVE_INPUT_ATTR).size == 24
    assert context.set_input(bytes(12)) == rknn_error.RKNN_ERR_INPUT_INVALID
    assert context.set_input(bytes(range(24))) == context.set_input(bytes(40), Type.RKNN_TENSOR_FLOAT32, 1) == 0
    assert context.run(None) == 0
    assert context.outputs(2)[0] == bytes(range(24))
    attrs[0].dims[1] = 2
    assert context.set_input_shape(ctypes.byref(attrs[0])) == 0
    assert context.run(None) == rknn_error.RKNN_ERR_INPUT_INVALID
    context.destroy()


def test_performance(simulator: RknnSimulator, script: Script) -> None:
    script("log=none;run_us=1500")
    plain, context = simulator.init(ANY), simulator.init(ANY, Flag.RKNN_FLAG_COLLECT_PERF_MASK)
    detail = rknn.rknn_perf_detail()
    assert context.query(Query.RKNN_QUERY_PERF_DETAIL, ctypes.byref(detail), 16) == rknn_error.RKNN_ERR_FAIL
    plain.play(IMAGE)
    before = time.monotonic()
    context.play(IMAGE)
    assert time.monotonic() - before >= 0.0015
    assert context.ask(Query.RKNN_QUERY_PERF_RUN, rknn.rknn_perf_run()).run_duration == 1500
    assert plain.ask(Query.RKNN_QUERY_PERF_DETAIL, detail).perf_data == b"", "without the flag there are no details"
    assert detail.data_len == 0
    text = context.ask(Query.RKNN_QUERY_PERF_DETAIL, detail).perf_data
    assert detail.data_len == len(text)
    lines = text.decode().splitlines()
    assert lines[0] == "-" * 150
    header = (
        "ID OpType DataType Target InputShape OutputShape DDRCycles NPUCycles MaxCycles Time(us) MacUsage(%) RW(KB)"
    )
    assert " ".join(lines[3].split()) == header
    assert [line.split()[1] for line in lines[5:8]] == ["InputOperator", "Conv", "OutputOperator"]
    assert len({len(line.split()) for line in (lines[3], *lines[5:8])}) == 1
    assert "Total Operator Elapsed Per Frame Time(us): 1500" in lines
    plain.destroy()
    context.destroy()


# ---- runs that do not block -----------------------------------------------------------------------------------------


def test_a_run_that_does_not_block(
    simulator: RknnSimulator, script: Script, traced: Callable[[], list[list[str]]]
) -> None:
    script("log=none;run_us=1500000")
    context = simulator.init(ANY)
    context.set_input(IMAGE, pass_through=1)
    extend = rknn.rknn_run_extend(non_block=1)
    before = time.monotonic()
    assert context.run(ctypes.byref(extend)) == 0
    assert extend.frame_id == 1
    assert context.wait(ctypes.byref(rknn.rknn_run_extend(timeout_ms=10))) == rknn_error.RKNN_ERR_TIMEOUT
    assert context.wait(None) == 0
    assert time.monotonic() - before >= 1.5
    assert signed(context.outputs()[0])[0] == wrapped(SUM)
    assert context.run(ctypes.byref(extend)) == 0
    context.outputs()  # waits
    context.destroy()
    events = [line[2:4] for line in traced() if line[3] in ("rknn_run", "rknn_wait")]
    assert events[:8] == [
        ["enter", "rknn_run"],
        ["submitted", "rknn_run"],
        ["leave", "rknn_run"],
        ["enter", "rknn_wait"],
        ["leave", "rknn_wait"],
        ["enter", "rknn_wait"],
        ["finished", "rknn_run"],
        ["leave", "rknn_wait"],
    ]
    assert overlaps(traced()) == []


def test_time_out_of_a_run_that_blocks(simulator: RknnSimulator, script: Script) -> None:
    script("log=none;run_us=60000000")
    context = simulator.init(ANY)
    context.set_input(IMAGE)
    assert context.run(ctypes.byref(rknn.rknn_run_extend(timeout_ms=10))) == rknn_error.RKNN_ERR_TIMEOUT
    assert context.wait(None) == rknn_error.RKNN_ERR_FAIL
    context.destroy()


def test_who_does_not_wait(
    simulator: RknnSimulator, complaints: list[str], traced: Callable[[], list[list[str]]]
) -> None:
    context, other = simulator.init(ANY), simulator.init(ANY)
    context.set_input(IMAGE)
    other.set_input(IMAGE)
    context.run(ctypes.byref(rknn.rknn_run_extend(non_block=1)))
    assert other.run(None) == 0
    assert context.run(None) == rknn_error.RKNN_ERR_FAIL
    context.destroy()
    other.destroy()
    complaints += ["overlap: rknn_run", "overlap: rknn_run", "destroyed before its run was waited for"]
    assert overlaps(traced())[0] == "rknn_run was entered while rknn_run was inside"


# ---- memories -------------------------------------------------------------------------------------------------------


def test_a_memory_is_a_sealed_memfd(simulator: RknnSimulator) -> None:
    context = simulator.init(ANY)
    memory = context.create_mem(5000)
    struct_ = memory.contents
    assert (struct_.size, struct_.offset, struct_.flags, struct_.phys_addr != 0) == (5000, 0, 1, True)
    assert os.fstat(struct_.fd).st_size == 5000
    assert fcntl.fcntl(struct_.fd, fcntl.F_GET_SEALS) == fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    ctypes.memmove(struct_.virt_addr, b"abc", 3)
    assert os.pread(struct_.fd, 3, 0) == b"abc"
    assert context.mem_sync(memory, 1) == context.mem_sync(memory, 3) == 0
    assert context.mem_sync(memory, 0) == context.mem_sync(None, 1) == rknn_error.RKNN_ERR_PARAM_INVALID
    fd = struct_.fd
    assert context.destroy_mem(memory) == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert not context.create_mem(0)
    context.destroy()


def test_a_run_with_bound_memories(simulator: RknnSimulator) -> None:
    context = simulator.init(ANY)
    source, target = context.attr(Query.RKNN_QUERY_INPUT_ATTR), context.attr(Query.RKNN_QUERY_OUTPUT_ATTR)
    image, scores = simulator.mem(context.handle, IMAGE), context.create_mem2(40, 1)
    target.type = Type.RKNN_TENSOR_FLOAT32
    assert context.set_io_mem(image, ctypes.byref(source)) == context.set_io_mem(scores, ctypes.byref(target)) == 0
    assert context.run(None) == 0
    assert list(array("f", content(scores))) == [(wrapped(SUM + i) - 4) * 0.25 for i in range(10)]
    ctypes.memset(image.contents.virt_addr, 0, 48)
    assert context.run(None) == 0
    assert array("f", content(scores))[0] == -1
    small = context.create_mem(39)
    assert context.set_io_mem(small, ctypes.byref(target)) == rknn_error.RKNN_ERR_PARAM_INVALID
    target.name = b"nobody"
    assert context.set_io_mem(scores, ctypes.byref(target)) == rknn_error.RKNN_ERR_PARAM_INVALID
    source.type = Type.RKNN_TENSOR_UINT8
    assert context.set_io_mem(image, ctypes.byref(source)) == 0
    ctypes.memmove(image.contents.virt_addr, bytes([1] * 48), 48)
    assert context.run(None) == 0
    assert signed(context.outputs()[0])[0] == wrapped(48 * 255)  # 1 / 0.5 - 3 = -1
    for memory in (image, scores, small):
        assert context.destroy_mem(memory) == 0
    context.destroy()


def test_memories_of_others(simulator: RknnSimulator) -> None:
    context = simulator.init(ANY)
    fd = os.memfd_create("mine")
    os.write(fd, b"0123456789")
    given = mmap.mmap(fd, 10)
    address = ctypes.addressof(ctypes.c_char.from_buffer(given))
    mapped, used = context.create_mem_from_fd(fd, None, 4, 6), context.create_mem_from_fd(fd, address, 4, 2)
    assert (content(mapped), content(used), used.contents.virt_addr) == (b"6789", b"2345", address)
    assert (mapped.contents.fd, mapped.contents.flags) == (fd, 2)
    assert not context.create_mem_from_fd(fd, None, 5, 6)
    assert not context.create_mem_from_fd(-1, None, 5, 0)
    phys, own = context.create_mem_from_phys(77, address, 8), context.create_mem_from_phys(99, None, 8)
    assert (phys.contents.virt_addr, phys.contents.phys_addr, phys.contents.flags) == (address, 77, 3)
    assert (content(own), own.contents.phys_addr) == (bytes(8), 99)
    block = context.create_mem_from_mb_blk(1, 0)
    assert block.contents.size == 4096
    assert not context.create_mem_from_mb_blk(None, 0)
    free = simulator.rknn_create_mem2(0, 16, 131072)
    assert simulator.live() == (1, 6, 0)
    for memory in (mapped, used, phys, own, block, free):
        assert simulator.rknn_destroy_mem(context.handle, memory) == 0
    assert os.pread(fd, 2, 0) == b"01"
    os.close(fd)
    context.destroy()


# ---- matmul ---------------------------------------------------------------------------------------------------------


def numbers(count: int, low: int = -128, high: int = 127) -> list[int]:
    source = random.Random(count)
    return [source.randint(low, high) for _ in range(count)]


def product(a: list[int], b: list[int], m: int, k: int, n: int) -> list[int]:
    return [sum(a[r * k + i] * b[i * n + c] for i in range(k)) for r in range(m) for c in range(n)]


def matmul_info(kind: rknn_matmul_type, m: int, k: int, n: int, **fields: int) -> Any:
    return rknn_matmul.rknn_matmul_info(M=m, K=k, N=n, type=kind, **fields)


def test_int8_matmul(simulator: RknnSimulator) -> None:
    m, k, n = 3, 7, 5
    a, b = numbers(m * k), numbers(k * n)
    matmul = Matmul(simulator, matmul_info(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32, m, k, n))
    attr = matmul.attrs[0]
    assert [(x.name, list(x.dims[: x.n_dims]), x.size, x.type) for x in (attr.A, attr.B, attr.C)] == [
        (b"A", [3, 7], 21, Type.RKNN_TENSOR_INT8),
        (b"B", [7, 5], 35, Type.RKNN_TENSOR_INT8),
        (b"C", [3, 5], 60, Type.RKNN_TENSOR_INT32),
    ]
    assert simulator.rknn_matmul_run(matmul.handle) == rknn_error.RKNN_ERR_PARAM_INVALID
    matmul.bind(array("b", a).tobytes(), array("b", b).tobytes())
    assert list(array("i", matmul.multiply())) == product(a, b, m, k, n)
    assert simulator.rknn_matmul_set_core_mask(matmul.handle, 7) == 0
    assert simulator.live() == (0, 3, 1)
    matmul.close()
    assert simulator.live() == (0, 0, 0)


def test_float16_matmul(simulator: RknnSimulator) -> None:
    m, k, n = 2, 4, 3
    a, b = numbers(m * k, -64, 64), numbers(k * n, -64, 64)
    expected = [value / 64 for value in product(a, b, m, k, n)]
    packed = [struct.pack(f"{len(x)}e", *(value / 8 for value in x)) for x in (a, b)]
    matmul = Matmul(simulator, matmul_info(rknn_matmul_type.RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT32, m, k, n))
    matmul.bind(packed[0], packed[1])
    assert list(array("f", matmul.multiply())) == expected
    matmul.close()
    half = Matmul(simulator, matmul_info(rknn_matmul_type.RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT16, m, k, n))
    half.bind(packed[0], packed[1])
    assert half.multiply() == struct.pack(f"{m * n}e", *expected)
    half.close()


def test_native_layouts(simulator: RknnSimulator) -> None:
    m, k, n = 2, 64, 96
    a, b = numbers(m * k), numbers(k * n)
    native = rknn_matmul_layout.RKNN_MM_LAYOUT_NATIVE
    info = matmul_info(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32, m, k, n, B_layout=native, AC_layout=native)
    matmul = Matmul(simulator, info)
    attr = matmul.attrs[0]
    assert [list(x.dims[: x.n_dims]) for x in (attr.A, attr.B, attr.C)] == [[4, 2, 16], [3, 2, 32, 32], [24, 2, 4]]
    tiled = ctypes.create_string_buffer(k * n)
    normal = array("b", b).tobytes()
    assert simulator.rknn_B_normal_layout_to_native_layout(normal, tiled, k, n, ctypes.byref(info)) == 0
    assert signed(tiled.raw) == [
        b[(k1 * 32 + row) * n + n1 * 32 + column]
        for n1, k1, column, row in itertools.product(range(3), range(2), range(32), range(32))
    ]
    tiled_a = [a[row * k + k1 * 16 + i] for k1, row, i in itertools.product(range(4), range(2), range(16))]
    matmul.bind(array("b", tiled_a).tobytes(), tiled.raw)
    expected = product(a, b, m, k, n)
    result = array("i", matmul.multiply())
    assert list(result) == [
        expected[row * n + n1 * 4 + i] for n1, row, i in itertools.product(range(24), range(2), range(4))
    ]
    matmul.close()
    assert simulator.rknn_B_normal_layout_to_native_layout(normal, tiled, 63, n, ctypes.byref(info)) == -5


@pytest.mark.parametrize("kind", rknn_matmul_type)
def test_every_matmul_type(simulator: RknnSimulator, kind: rknn_matmul_type) -> None:
    """Small numbers fit all types; the names say the types."""
    m, k, n = 2, 4, 6
    a, b = numbers(m * k, -2, 2), numbers(k * n, -2, 2)
    left, right = kind.name.removeprefix("RKNN_").split("_MM_")
    right, result = right.split("_TO_")
    matmul = Matmul(simulator, matmul_info(kind, m, k, n, B_layout=rknn_matmul_layout.RKNN_MM_LAYOUT_TP_NORM))
    turned = [b[row * n + column] for column in range(n) for row in range(k)]
    matmul.bind(pack(left, a), pack(right, turned))
    assert matmul.multiply() == pack(result, product(a, b, m, k, n))
    matmul.close()


CODES = {"INT8": "b", "INT16": "h", "INT32": "i", "FLOAT16": "e", "FLOAT32": "f"}


def pack(kind: str, values: list[int]) -> bytes:
    if kind == "INT4":
        return bytes(low & 15 | (high & 15) << 4 for low, high in zip(values[::2], values[1::2], strict=True))
    if kind == "BFLOAT16":
        return b"".join(struct.pack("f", value)[2:] for value in values)
    return struct.pack(f"{len(values)}{CODES[kind]}", *values)


def test_matmul_quantisation(simulator: RknnSimulator) -> None:
    matmul = Matmul(simulator, matmul_info(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_FLOAT32, 1, 2, 2))
    scales, zeros = (ctypes.c_float * 2)(0.5, 0.25), (ctypes.c_int32 * 1)(1)
    params = rknn_matmul.rknn_quant_params(b"B", scales, 2, zeros, 1)
    assert simulator.rknn_matmul_set_quant_params(matmul.handle, ctypes.byref(params)) == 0
    scale, back = ctypes.c_float(), rknn_matmul.rknn_quant_params(b"B")
    assert simulator.rknn_matmul_get_quant_params(matmul.handle, ctypes.byref(back), ctypes.byref(scale)) == 0
    assert (back.scale[:2], back.scale_len, back.zp[0], back.zp_len, scale.value) == ([0.5, 0.25], 2, 1, 1, 0.375)
    matmul.bind(bytes([2, 3]), bytes([5, 9, 2, 3]))
    assert list(array("f", matmul.multiply())) == [(2 * 4 + 3 * 1) * 0.5, (2 * 8 + 3 * 2) * 0.25]
    wrong = rknn_matmul.rknn_quant_params(b"A", scales, 2, None, 0)
    assert simulator.rknn_matmul_set_quant_params(matmul.handle, ctypes.byref(wrong)) == -5
    matmul.close()


def test_dynamic_matmul(simulator: RknnSimulator) -> None:
    info = matmul_info(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32, 0, 0, 0)
    matmul = Matmul(simulator, info, [(1, 2, 1), (2, 2, 1)])
    matmul.bind(bytes([1, 2]), bytes([3, 4]))
    assert list(array("i", matmul.multiply())) == [11]
    shape = rknn_matmul.rknn_matmul_shape(2, 2, 1)
    assert simulator.rknn_matmul_set_dynamic_shape(matmul.handle, ctypes.byref(shape)) == 0
    assert simulator.rknn_matmul_run(matmul.handle) == rknn_error.RKNN_ERR_PARAM_INVALID, "A and C are to be set anew"
    matmul.bind(bytes([1, 2, 5, 6]), bytes([3, 4]), 1)
    assert list(array("i", matmul.multiply())) == [11, 39]
    shape.M = 3
    assert simulator.rknn_matmul_set_dynamic_shape(matmul.handle, ctypes.byref(shape)) == -5
    matmul.close()


def test_wrong_matmuls(simulator: RknnSimulator) -> None:
    int8 = rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32
    for info in (
        matmul_info(int8, 0, 1, 1),
        matmul_info(int8, 1, 33, 32, B_layout=1),
        matmul_info(int8, 1, 1, 1, B_layout=3),
        matmul_info(int8, 1, 1, 1, B_quant_type=4),  # groups of no rows
        matmul_info(int8, 1, 1, 1, B_quant_type=6),
        rknn_matmul.rknn_matmul_info(M=1, K=1, N=1, type=13),
        rknn_matmul.rknn_matmul_info(M=1, K=1, N=1, type=99),
    ):
        assert Matmul(simulator, info).status == rknn_error.RKNN_ERR_PARAM_INVALID
    assert simulator.live() == (0, 0, 0)


# ---- custom operators -----------------------------------------------------------------------------------------------


class Operators:
    """An operator of type "Scale" whose callbacks are Python's."""

    def __init__(self, simulator: RknnSimulator, **answers: int) -> None:
        self.simulator = simulator
        self.answers = answers
        self.calls: list[str] = []
        self.attributes: dict[bytes, Any] = {}
        self.context: Any = None
        self.struct = rknn_custom_op.rknn_custom_op(version=1, target=1, op_type=b"Scale")
        self.struct.init = rknn_custom_op.CustomOpCallback(self.init)
        self.struct.prepare = rknn_custom_op.CustomOpCallback(self.prepare)
        self.struct.compute = rknn_custom_op.CustomOpCallback(self.compute)
        self.struct.destroy = rknn_custom_op.CustomOpDestroy(self.destroy)

    def init(self, context: Any, _inputs: Any, _n_inputs: int, _outputs: Any, _n_outputs: int) -> int:
        """Ask for all attributes."""
        self.calls.append("init")
        self.context = context
        for name in (b"name", b"factor", b"axes", b"none"):
            attribute = rknn_custom_op.rknn_custom_op_attr()
            self.simulator.rknn_custom_op_get_op_attr(context, name, ctypes.byref(attribute))
            self.attributes[name] = attribute
        return self.answers.get("init", 0)

    def prepare(self, *_: Any) -> int:
        """Do nothing."""
        self.calls.append("prepare")
        return 0

    def compute(self, _context: Any, inputs: Any, n_inputs: int, outputs: Any, n_outputs: int) -> int:
        """Multiply by three."""
        self.calls.append(f"compute {n_inputs} {n_outputs} {inputs[0].attr.type} {inputs[0].attr.name.decode()}")
        count = inputs[0].attr.n_elems
        source, target = (
            (ctypes.c_float * count).from_address(tensor.mem.virt_addr + tensor.mem.offset)
            for tensor in (inputs[0], outputs[0])
        )
        target[:] = [value * 3 for value in source]
        return self.answers.get("compute", 0)

    def destroy(self, _context: Any) -> int:
        """Do nothing."""
        self.calls.append("destroy")
        return 0


VALUES = bytes([2, 3, 4, 5, 0, 255, 50, 127])  # (value - 2) / 2 as int8


def test_custom_operator(simulator: RknnSimulator) -> None:
    context, operators = simulator.init(SCALED), Operators(simulator)
    assert context.register_custom_ops(ctypes.byref(operators.struct), 1) == 0
    assert context.register_custom_ops(ctypes.byref(operators.struct), 1) == rknn_error.RKNN_ERR_PARAM_INVALID
    found = operators.attributes
    assert (found[b"name"].dtype, ctypes.string_at(found[b"name"].data)) == (Type.RKNN_TENSOR_UINT8, b"twice")
    assert (found[b"factor"].n_elems, ctypes.c_float.from_address(found[b"factor"].data).value) == (1, 3)
    assert list((ctypes.c_int64 * 2).from_address(found[b"axes"].data)) == [-1, 2]
    assert (found[b"none"].n_elems, found[b"none"].data) == (0, None)
    assert signed(context.play(VALUES)[0]) == [2, 5, 8, 11, -4, -7, 127, 127]
    assert context.destroy() == 0
    assert operators.calls == ["init", "prepare", "compute 1 1 0 y", "destroy"]


def test_operators_that_fail_or_skip(simulator: RknnSimulator) -> None:
    skip = rknn_custom_op.RKNN_WARNING_SKIP_CUSTOM_OP_COMPUTE
    for answers, status, ran in (
        ({"compute": -1}, -1, True),
        ({"compute": skip}, 0, True),
        ({"init": skip}, 0, False),
    ):
        context, operators = simulator.init(SCALED), Operators(simulator, **answers)
        assert context.register_custom_ops(ctypes.byref(operators.struct), 1) == 0
        context.set_input(VALUES, pass_through=1)
        assert context.run(None) == status
        assert any(call.startswith("compute") for call in operators.calls) is ran
        if status == 0:
            assert context.outputs() == [VALUES]
        context.destroy()
    context, operators = simulator.init(SCALED), Operators(simulator, init=-4)
    assert context.register_custom_ops(ctypes.byref(operators.struct), 1) == -4
    context.set_input(VALUES, pass_through=1)
    assert context.run(None) == rknn_error.RKNN_ERR_FAIL
    context.destroy()
    assert operators.calls == ["init"]


def test_attributes_outside_a_callback(simulator: RknnSimulator, complaints: list[str]) -> None:
    context, operators = simulator.init(SCALED), Operators(simulator)
    context.register_custom_ops(ctypes.byref(operators.struct), 1)
    attribute = rknn_custom_op.rknn_custom_op_attr(n_elems=7)
    simulator.rknn_custom_op_get_op_attr(operators.context, b"factor", ctypes.byref(attribute))
    assert attribute.n_elems == 0
    context.destroy()
    complaints.append("outside the callback")


def test_a_call_inside_a_callback(simulator: RknnSimulator, complaints: list[str]) -> None:
    context, operators = simulator.init(SCALED), Operators(simulator)
    answers: list[int] = []

    def run_again(*_: Any) -> int:
        answers.append(context.run(None))
        return 0

    operators.struct.prepare = rknn_custom_op.CustomOpCallback(run_again)
    context.register_custom_ops(ctypes.byref(operators.struct), 1)
    context.play(VALUES)
    context.destroy()
    assert answers == [rknn_error.RKNN_ERR_FAIL]
    complaints.append("rknn_run was called inside an operator's callback")


def test_operator_without_callbacks(simulator: RknnSimulator) -> None:
    context = simulator.init(SCALED)
    empty = rknn_custom_op.rknn_custom_op(target=1, op_type=b"Scale")
    assert context.register_custom_ops(ctypes.byref(empty), 1) == rknn_error.RKNN_ERR_PARAM_INVALID
    assert context.register_custom_ops(None, 1) == rknn_error.RKNN_ERR_PARAM_INVALID
    context.destroy()


def test_example_operator(tmp_path: Path) -> None:
    """In a process of its own: the plug-in finds the library that is loaded already by its name."""
    program = f"""
import ctypes
from pathlib import Path
from rkllmd.abi.layouts.rknn_custom_op import rknn_custom_op
from tests.simulator.rknn_player import RknnSimulator
simulator = RknnSimulator(Path({str(build_rknn("2.3.2", tmp_path))!r}))
plug_in = ctypes.CDLL({str(build_operator(tmp_path))!r})
plug_in.get_rknn_custom_op.restype = ctypes.POINTER(rknn_custom_op)
context = simulator.init({SCALED!r})
assert context.register_custom_ops(plug_in.get_rknn_custom_op(), 1) == 0
print(list(context.play({VALUES!r})[0]))
assert context.destroy() == 0
"""
    done = play(program, "log=none")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[2, 5, 8, 11, 252, 249, 127, 127]\n"


# ---- what goes wrong ------------------------------------------------------------------------------------------------


def play(program: str, scenario: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "RKNN_SIMULATOR": scenario, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def faulty(built: Path) -> str:
    return f"""
from pathlib import Path
from tests.simulator.rknn_player import RknnSimulator
context = RknnSimulator(Path({str(built)!r})).init({ANY!r})
context.set_input(bytes(48))
print([context.run(None) for _ in range(3)], flush=True)
"""


@pytest.mark.parametrize(
    ("scenario", "status"),
    [
        ("run=segfault@2", -signal.SIGSEGV),
        ("init=abort", -signal.SIGABRT),
        ("fault.rknn_inputs_set=exit", 3),
    ],
)
def test_crashes(built: Path, scenario: str, status: int) -> None:
    assert play(faulty(built), scenario).returncode == status


def test_a_hang_lasts_until_it_is_killed(built: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        play(faulty(built), "run=hang", 2)


def test_failing_runs(simulator: RknnSimulator, script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    script("run=fail@2;error_status=-3")
    context = simulator.init(ANY)
    context.set_input(IMAGE)
    capfd.readouterr()
    assert [context.run(None) for _ in range(3)] == [0, -3, 0]
    said = capfd.readouterr().err
    assert said.startswith(
        "E RKNN: [00:00:00.000] failed to submit!, op id: 1, op name: Conv:/model.0/conv/Conv, flags: 0x5, task start: "
        "0, task number: 1, run task counter: 0, int status: 0"
    )
    context.destroy()
    script("log=none;run=timeout;fault.rknn_matmul_run=fail")
    context = simulator.init(ANY)
    context.set_input(IMAGE)
    assert context.run(None) == rknn_error.RKNN_ERR_TIMEOUT
    extend = rknn.rknn_run_extend(non_block=1)
    assert context.run(ctypes.byref(extend)) == 0
    assert context.wait(None) == rknn_error.RKNN_ERR_TIMEOUT
    context.destroy()
    script("log=none;run=hang")
    context = simulator.init(ANY)
    context.set_input(IMAGE)
    assert context.run(ctypes.byref(rknn.rknn_run_extend(timeout_ms=5))) == rknn_error.RKNN_ERR_TIMEOUT
    context.destroy()


def test_out_of_memory(simulator: RknnSimulator, script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    script("init=fail@2")
    first, second = simulator.init(TWO), simulator.init(TWO)
    assert (first.status, second.status, simulator.live()) == (0, -6, (1, 0, 0))
    said = [line.split("] ")[1] for line in capfd.readouterr().err.splitlines() if line.startswith("E RKNN: ")]
    assert said == [
        "failed to allocate handle, ret: -1, errno: 14, errstr: Bad address",
        "failed to malloc npu memory, size: 100000, flags: 0x2",
        "Import rknn model failed!",
        "rknn_init, load model failed!",
    ]
    first.destroy()
    script("log=none;memory_limit=210000;init_status=-4")
    first, second = simulator.init(TWO), simulator.init(TWO)
    assert first.status == second.status == 0
    assert simulator.init(TWO).status == -4
    assert not first.create_mem(1)
    second.destroy()
    memory = first.create_mem(105000)
    assert memory
    assert not first.create_mem(1)
    assert first.destroy_mem(memory) == first.destroy() == 0


def test_delays_lines_and_faults_of_any_function(
    simulator: RknnSimulator, script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    script(
        "delay.rknn_init=50;print.stderr=W RKNN: hot;print_at=rknn_query;"
        "fault.rknn_create_mem=fail@2;driver_version=0.9.6"
    )
    before = time.monotonic()
    context = simulator.init(ANY)
    assert time.monotonic() - before >= 0.05
    assert "RKNN Driver Information, version: 0.9.6" in capfd.readouterr().err
    assert context.ask(Query.RKNN_QUERY_SDK_VERSION, rknn.rknn_sdk_version()).drv_version == b"0.9.6"
    assert capfd.readouterr().err == "W RKNN: hot\n"
    memory = context.create_mem(1)
    assert not context.create_mem(1)
    assert context.destroy_mem(memory) == context.destroy() == 0


# ---- what it watches ------------------------------------------------------------------------------------------------


def elsewhere(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_another_thread(simulator: RknnSimulator, complaints: list[str]) -> None:
    context = simulator.init(ANY)
    memory = context.create_mem(16)
    elsewhere(lambda: context.set_core_mask(1))
    elsewhere(lambda: context.mem_sync(memory, 1))
    assert context.destroy_mem(memory) == context.destroy() == 0
    complaints += ["thread: rknn_set_core_mask", "thread: rknn_mem_sync", "thread: rknn_mem_sync"]


def test_two_calls_at_once(
    simulator: RknnSimulator, script: Script, complaints: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = tmp_path / "hold"
    held.touch()
    monkeypatch.setenv("RKLLM_SIMULATOR_HOLD", str(held))
    script("log=none;hold.rknn_run=1")
    context = simulator.init(ANY)
    context.set_input(IMAGE)
    other: list[int] = []

    def enter() -> None:
        while simulator.simulator_calls() < 3:
            time.sleep(0.001)
        other.append(simulator.rknn_matmul_create(None, None, None))

    def let_go() -> None:
        while simulator.simulator_complaints() < 1:
            time.sleep(0.001)
        held.unlink()

    threads = [threading.Thread(target=work) for work in (enter, let_go)]
    for thread in threads:
        thread.start()
    assert context.run(None) == 0
    for thread in threads:
        thread.join()
    assert other == [-5]
    context.destroy()
    complaints.append("overlap: rknn_matmul_create was entered while rknn_run is inside")


def test_dead_contexts_and_memories(simulator: RknnSimulator, complaints: list[str]) -> None:
    context = simulator.init(ANY)
    memory, late = context.create_mem(16), context.create_mem(16)
    assert context.destroy_mem(memory) == 0
    assert context.destroy_mem(memory) == rknn_error.RKNN_ERR_PARAM_INVALID
    assert context.destroy() == 0
    assert context.run(None) == rknn_error.RKNN_ERR_CTX_INVALID
    assert context.destroy() == rknn_error.RKNN_ERR_CTX_INVALID
    assert not context.create_mem(16)
    assert not context.create_mem2(16, 0)
    assert context.destroy_mem(late) == rknn_error.RKNN_ERR_CTX_INVALID
    matmul = Matmul(simulator, matmul_info(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32, 1, 1, 1))
    assert simulator.rknn_run(matmul.handle, None) == rknn_error.RKNN_ERR_CTX_INVALID
    matmul.close()
    assert simulator.live() == (0, 0, 0)
    complaints += [
        "dead memory",
        "is destroyed while 1 of its memories live",
        "given to rknn_run",
        "given to rknn_destroy",
        "given to rknn_create_mem",
        "given to rknn_create_mem2",
        "is destroyed after it",
        "given to rknn_run",
    ]
    assert simulator.simulator_complaints() == len(complaints)


def test_a_bound_memory_that_is_gone(simulator: RknnSimulator, complaints: list[str]) -> None:
    context = simulator.init(ANY)
    source = context.attr(Query.RKNN_QUERY_INPUT_ATTR)
    memory = simulator.mem(context.handle, IMAGE)
    context.set_io_mem(memory, ctypes.byref(source))
    context.destroy_mem(memory)
    assert context.run(None) == rknn_error.RKNN_ERR_INPUT_INVALID
    context.destroy()
    complaints.append("the memory that was bound to image is destroyed")


def test_outputs_that_are_not_released(simulator: RknnSimulator, complaints: list[str]) -> None:
    context = simulator.init(ANY)
    context.play(IMAGE)
    first, second = rknn.rknn_output(), rknn.rknn_output()
    assert context.outputs_get(1, ctypes.byref(first), None) == context.outputs_get(1, ctypes.byref(second), None) == 0
    assert context.outputs_release(1, ctypes.byref(first)) == 0
    assert context.outputs_release(1, ctypes.byref(first)) == rknn_error.RKNN_ERR_OUTPUT_INVALID
    context.destroy()
    complaints += ["released twice", "with 1 outputs not released"]


# ---- trace ----------------------------------------------------------------------------------------------------------


def test_trace(simulator: RknnSimulator, traced: Callable[[], list[list[str]]]) -> None:
    context = simulator.init(ANY)
    memory = context.create_mem(16)
    context.run(None)
    context.destroy_mem(memory)
    context.destroy()
    lines = traced()
    assert all(len(line) == 5 and int(line[1]) == threading.get_native_id() for line in lines)
    handle = str(context.handle.value)
    assert [line[2:] for line in lines] == [
        ["enter", "rknn_init", "0"],
        *lives(1, 0),
        ["leave", "rknn_init", "0"],
        ["enter", "rknn_create_mem", handle],
        *lives(1, 1),
        ["leave", "rknn_create_mem", "0"],
        ["enter", "rknn_run", handle],
        ["leave", "rknn_run", "-8"],
        ["enter", "rknn_destroy_mem", handle],
        *lives(1, 0),
        ["leave", "rknn_destroy_mem", "0"],
        ["enter", "rknn_destroy", handle],
        *lives(0, 0),
        ["leave", "rknn_destroy", "0"],
    ]
    assert live(lines) == {"contexts": 0, "memories": 0, "matmuls": 0}
    assert live(lines[:9])["memories"] == 1
    assert overlaps(lines) == []


def lives(contexts: int, memories: int) -> list[list[str]]:
    return [["live", "contexts", str(contexts)], ["live", "memories", str(memories)], ["live", "matmuls", "0"]]


def story(text: str) -> list[list[str]]:
    """Return a trace of "event name value" pieces."""
    return [["0", "1", *[*piece.split(), "0"][:3]] for piece in text.split(", ")]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("enter rkllm_run, leave rkllm_run, enter rknn_run, submitted rknn_run, finished rknn_run, leave rknn_run", 0),
        ("enter rkllm_run, enter rknn_run, leave rknn_run, leave rkllm_run", 1),
        ("enter rkllm_run, enter rknn_set_core_mask, leave rknn_set_core_mask, leave rkllm_run", 0),
        ("enter rkllm_run_async, leave rkllm_run_async, enter rknn_init, leave rknn_init, finished rkllm_run_async", 1),
        ("enter rkllm_run_async, finished rkllm_run_async, leave rkllm_run_async, enter rknn_init, leave rknn_init", 0),
        ("enter rkllm_run_async, leave rkllm_run_async -1, enter rknn_init, leave rknn_init", 0),
        ("enter rknn_run, submitted rknn_run, leave rknn_run, enter rkllm_run, leave rkllm_run", 1),
        ("enter rknn_run, submitted rknn_run, leave rknn_run, enter rknn_wait, finished rknn_run, leave rknn_wait", 0),
        ("enter rkllm_run, callback normal, enter rknn_run, leave rknn_run, resumed normal, leave rkllm_run", 0),
        ("enter rkllm_run, callback normal, resumed normal, enter rknn_run, leave rknn_run, leave rkllm_run", 1),
        ("enter rkllm_run, callback normal, enter rknn_run, resumed normal, leave rknn_run, leave rkllm_run", 1),
    ],
)
def test_overlaps_of_both_libraries(text: str, count: int) -> None:
    assert len(overlaps(story(text))) == count


# ---- memory errors --------------------------------------------------------------------------------------------------

SANITISED = """
import ctypes
from pathlib import Path
from rkllmd.abi.layouts import rknn
from tests.simulator.rknn_player import *
simulator = RknnSimulator(Path({path!r}))
for model in (b"any", {two!r}, {scaled!r}):
    context = simulator.init(model, Flag.RKNN_FLAG_COLLECT_PERF_MASK)
    for index in range(context.ask(Query.RKNN_QUERY_IN_OUT_NUM, rknn.rknn_input_output_num()).n_input):
        attr = context.attr(Query.RKNN_QUERY_INPUT_ATTR, index)
        assert context.set_input(bytes(attr.size), index=index, pass_through=1) == 0
    context.run(None)
    context.destroy()
print(simulator.live())
"""


def test_no_memory_errors(tmp_path: Path) -> None:
    """Under the sanitisers, where the compiler brings them; leaks of Python itself are not looked for."""
    compiler = os.environ.get("CC", "cc").split()[0]
    runtime = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=False)
    if not Path(runtime.stdout.strip()).is_absolute():
        pytest.skip("the compiler has no address sanitiser")
    path = build_rknn("2.3.2", tmp_path, ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
    done = subprocess.run(
        [sys.executable, "-c", SANITISED.format(path=str(path), two=TWO, scaled=SCALED)],
        env={
            **os.environ,
            "RKNN_SIMULATOR": "log=none",
            "PYTHONPATH": str(ROOT),
            "LD_PRELOAD": runtime.stdout.strip(),
            "ASAN_OPTIONS": "detect_leaks=0",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(0, 0, 0)\n", "")

"""Runs of RKNN's simulator: what comes out, in which shape, and when."""

from __future__ import annotations

import ctypes
import itertools
import struct
import time
from array import array
from collections.abc import Callable

from rkllmd.abi.layouts import rknn
from rkllmd.abi.layouts.rknn_constants import rknn_error
from tests.simulator.rknn_player import Flag, Format, Query, RknnSimulator, Type, content
from tests.simulator.tests.rknn.models import ANY, IMAGE, SUM, TWO, Script, signed, wrapped
from tests.simulator.trace import overlaps

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

"""Inputs, shapes, runs and outputs."""

from __future__ import annotations

import ctypes
import json
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from rkllmd.abi.layouts.rknn import rknn_output, rknn_output_extend, rknn_run_extend, rknn_tensor_attr
from rkllmd.abi.layouts.rknn_constants import rknn_flag, rknn_tensor_type
from tests.portable.rknn.client import (
    FAIL,
    INPUT,
    NC1HWC2,
    NCHW,
    NHWC,
    OK,
    OUTPUT,
    PARAM,
    TIMEOUT,
    C,
    address,
    attr,
    dims,
    get,
    load,
    run,
    set_input,
)
from tests.portable.rknn.conftest import Line
from tests.portable.rknn.graphs import (
    FEATURE_SCALE,
    FEATURE_ZERO,
    INPUT_SCALE,
    INPUT_ZERO,
    NUMPY_TYPES,
    Array,
    dynamic,
    floats,
    gather,
    identity,
    quantised,
    reference,
    slow,
)

RNG = np.random.default_rng(4)
REAL = (RNG.standard_normal((1, 3, 6, 5)) * 3).astype(np.float32)
INTEGERS = RNG.integers(-128, 128, (1, 3, 6, 5)).astype(np.int8)


def through_quantised(given: Array, fmt: int, pass_through: int = 0, **changes: int) -> tuple[Array, Array, Array]:
    context = load(quantised())
    assert set_input(context, given, fmt, pass_through, **changes) == OK
    assert run(context) == OK
    outputs = get(context, np.int8), get(context, np.float32, 0, 1), get(context, np.float32, 1)
    assert C["rknn_destroy"](context) == OK
    return outputs


def quantise(values: Array) -> Array:
    scaled = values.astype(np.float32) / np.float32(INPUT_SCALE) + np.float32(INPUT_ZERO)
    rounded: Array = np.clip(np.rint(scaled), -128, 127).astype(np.int8)
    return rounded


@pytest.mark.parametrize("pass_through", [0, 1])
@pytest.mark.parametrize("fmt", [NCHW, NHWC, NC1HWC2])
def test_integers_come_out_bit_for_bit(fmt: int, pass_through: int) -> None:
    given = INTEGERS
    if fmt == NHWC:
        given = INTEGERS.transpose(0, 2, 3, 1)
    if fmt == NC1HWC2:
        given = np.zeros((1, 1, 6, 5, 16), np.int8)
        given[0, 0, ..., :3] = INTEGERS[0].transpose(1, 2, 0)
    feature, real, scores = through_quantised(given, fmt, pass_through)
    expected, expected_scores = reference(quantised(), {"x": INTEGERS})
    assert feature.tobytes() == expected.tobytes()
    assert scores.tobytes() == expected_scores.tobytes()
    np.testing.assert_array_equal(
        real, ((expected.astype(np.float32) - FEATURE_ZERO) * np.float32(FEATURE_SCALE)).ravel()
    )


def test_a_native_input_is_known_by_its_size() -> None:
    given = np.zeros((1, 1, 6, 5, 16), np.int8)
    given[0, 0, ..., :3] = INTEGERS[0].transpose(1, 2, 0)
    feature, _, _ = through_quantised(given, NHWC, 1)
    assert feature.tobytes() == reference(quantised(), {"x": INTEGERS})[0].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8, np.int32])
def test_numbers_are_quantised(dtype: Any) -> None:
    given = np.abs(REAL).astype(dtype)
    feature, _, _ = through_quantised(given.transpose(0, 2, 3, 1), NHWC)
    assert feature.tobytes() == reference(quantised(), {"x": quantise(given)})[0].tobytes()


def test_numbers_out_of_range_and_halves() -> None:
    given = np.zeros((1, 3, 6, 5), np.float32)
    given.flat[:6] = [1e9, -1e9, np.inf, -np.inf, np.nan, INPUT_SCALE * 2.5]
    feature, _, _ = through_quantised(given, NCHW)
    expected = quantise(np.zeros_like(given))
    expected.flat[:6] = [127, -128, 127, -128, INPUT_ZERO, 0]  # 2.5 - 3 is halfway, and 0 is even
    assert feature.tobytes() == reference(quantised(), {"x": expected})[0].tobytes()


@pytest.mark.parametrize("kind", NUMPY_TYPES)
def test_every_type_comes_through(kind: int) -> None:
    dtype = np.dtype(NUMPY_TYPES[kind])
    values = (
        RNG.integers(0, 2, (2, 3)).astype(dtype) if dtype.kind == "b" else RNG.integers(0, 100, (2, 3)).astype(dtype)
    )
    context = load(identity(kind, [2, 3]))
    assert set_input(context, values) == OK
    assert run(context) == OK
    assert get(context, dtype).tobytes() == values.tobytes()
    assert get(context, np.float32, want_float=1).tolist() == values.ravel().astype(np.float32).tolist()
    C["rknn_destroy"](context)


@pytest.mark.parametrize("kind", NUMPY_TYPES)
@pytest.mark.parametrize("given", [np.uint8, np.float32, np.int64])
def test_every_type_is_cast_to(kind: int, given: Any) -> None:
    values = np.array([[0, 1, 100]], given)
    context = load(identity(kind, [1, 3]))
    assert set_input(context, values) == OK
    assert run(context) == OK
    assert get(context, NUMPY_TYPES[kind]).tolist() == values.astype(NUMPY_TYPES[kind]).ravel().tolist()
    C["rknn_destroy"](context)


def test_bfloat16_is_taken() -> None:
    context = load(identity(TensorProto.FLOAT, [4]))
    bits = (np.array([1, -2.5, 0, 3e38], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    assert set_input(context, bits, type=rknn_tensor_type.RKNN_TENSOR_BFLOAT16) == OK
    run(context)
    assert get(context, np.uint32).tolist() == (bits.astype(np.uint32) << 16).tolist()
    C["rknn_destroy"](context)


def test_an_image_for_floats_in_both_orders() -> None:
    image = RNG.integers(0, 256, (1, 4, 4, 3)).astype(np.uint8)
    context = load(floats())
    expected = reference(floats(), {"x": image.transpose(0, 3, 1, 2).astype(np.float32)})[0]
    for given, fmt in ((image, NHWC), (image.transpose(0, 3, 1, 2), NCHW)):
        assert set_input(context, given, fmt) == OK
        assert run(context) == OK
        assert get(context, np.float32).tobytes() == expected.tobytes()
    C["rknn_destroy"](context)


def test_wrong_inputs(line: Line) -> None:
    context = load(floats())
    values = np.zeros((1, 3, 4, 4), np.float32)
    assert run(context) == INPUT
    assert "input 0 (x) is not set" in line()
    for changes in (
        {"index": 1},
        {"size": 191},
        {"size": 193},
        {"buf": 0},
        {"type": 99},
        {"type": rknn_tensor_type.RKNN_TENSOR_INT4},
        {"type": rknn_tensor_type.RKNN_TENSOR_UINT8},
    ):
        assert set_input(context, values, **changes) == INPUT
        line()
    for fmt in (-1, 4, NC1HWC2):
        assert set_input(context, values, fmt) == PARAM
        line()
    assert C["rknn_inputs_set"](context, 0, None) == PARAM
    line()
    assert C["rknn_inputs_set"](context, 1, None) == PARAM
    line()
    C["rknn_destroy"](context)


def test_outputs_into_given_buffers(line: Line) -> None:
    context = load(floats())
    output = rknn_output(index=0)
    assert C["rknn_outputs_get"](context, 1, ctypes.byref(output), None) == OUTPUT
    assert "has not been run" in line()
    set_input(context, np.ones((1, 3, 4, 4), np.float32))
    assert run(context, rknn_run_extend()) == OK
    target = np.zeros(40, np.float32)
    output = rknn_output(is_prealloc=1, index=0, buf=address(target), size=target.nbytes)
    extend = rknn_output_extend()
    assert C["rknn_outputs_get"](context, 1, ctypes.byref(output), ctypes.byref(extend)) == OK
    assert (output.size, output.buf, extend.frame_id) == (128, address(target), 1)
    assert target[:32].tobytes() == get(context, np.float32).tobytes()
    assert not target[32:].any()
    assert C["rknn_outputs_release"](context, 1, ctypes.byref(output)) == OK
    for wrong in (
        rknn_output(index=1),
        rknn_output(is_prealloc=1, buf=address(target), size=127),
        rknn_output(is_prealloc=1, size=500),
    ):
        assert C["rknn_outputs_get"](context, 1, ctypes.byref(wrong), None) == OUTPUT
        line()
    stray = rknn_output(buf=address(target))
    assert C["rknn_outputs_release"](context, 1, ctypes.byref(stray)) == OUTPUT
    line()
    assert C["rknn_outputs_get"](context, 0, None, None) == PARAM
    line()
    assert C["rknn_outputs_release"](context, 0, None) == PARAM
    line()
    C["rknn_destroy"](context)


def test_the_reason_of_a_failed_run(line: Line) -> None:
    context = load(gather())
    set_input(context, np.array([0, 7], np.int64))
    assert run(context) == FAIL
    assert "ONNX Runtime" in line()
    output = rknn_output()
    assert C["rknn_outputs_get"](context, 1, ctypes.byref(output), None) == OUTPUT
    line()
    set_input(context, np.array([2, 0], np.int64))
    assert run(context) == OK
    assert get(context, np.float32).tolist() == [3, 1]
    C["rknn_destroy"](context)


def shape_attr(shape: tuple[int, ...], fmt: int = NHWC, index: int = 0) -> rknn_tensor_attr:
    made = rknn_tensor_attr(index=index, n_dims=len(shape), fmt=fmt)
    made.dims[: len(shape)] = shape
    return made


@pytest.mark.parametrize("flags", [0, rknn_flag.RKNN_FLAG_COLLECT_PERF_MASK])
def test_shapes_are_set(flags: int) -> None:
    context = load(dynamic(), flags)
    assert dims(attr(context, "OUTPUT")) == (1, 3, 1, 4)
    assert dims(attr(context, "OUTPUT", 1)) == (2, 3)
    for shape in ((2, 3, 5, 4), (7, 3, 1, 4)):
        wanted = shape_attr((shape[0], shape[2], shape[3], shape[1]))
        assert C["rknn_set_input_shapes"](context, 1, ctypes.byref(wanted)) == OK
        assert dims(attr(context, "CURRENT_INPUT")) == dims(wanted)
        assert dims(attr(context, "CURRENT_OUTPUT")) == shape
        assert dims(attr(context, "CURRENT_OUTPUT", 1)) == (2 * shape[0], 3)
        assert dims(attr(context, "OUTPUT")) == (1, 3, 1, 4)
        values = RNG.standard_normal(shape).astype(np.float32)
        assert set_input(context, values) == OK
        assert run(context) == OK
        assert get(context, np.float32).tobytes() == np.abs(values).tobytes()
        assert dims(attr(context, "CURRENT_OUTPUT", 1)) == (2 * shape[0], 3)
    assert C["rknn_set_input_shape"](context, ctypes.byref(shape_attr((1, 3, 2, 4), NCHW))) == OK
    assert dims(attr(context, "CURRENT_INPUT")) == (1, 2, 4, 3)
    C["rknn_destroy"](context)


def test_shapes_that_do_not_fit(line: Line) -> None:
    context = load(dynamic())
    for wrong in (
        shape_attr((1, 1, 4, 2)),
        shape_attr((1, 1, 0, 3)),
        shape_attr((1, 4, 3)),
        shape_attr((2**31, 2**31, 4, 3)),
        shape_attr((1, 1, 4, 3), index=1),
        shape_attr((1, 1, 4, 3), fmt=NC1HWC2),
        rknn_tensor_attr(n_dims=17),
    ):
        assert C["rknn_set_input_shapes"](context, 1, ctypes.byref(wrong)) == PARAM
        line()
    assert C["rknn_set_input_shapes"](context, 0, None) == PARAM
    line()
    C["rknn_destroy"](context)


def test_only_listed_shapes_where_there_is_a_list(line: Line) -> None:
    context = load(dynamic({"rknn_dynamic_shapes": json.dumps([[[2, 3, 8, 4]], [[1, 3, 9, 4]]])}))
    assert C["rknn_set_input_shapes"](context, 1, ctypes.byref(shape_attr((1, 9, 4, 3)))) == OK
    assert C["rknn_set_input_shapes"](context, 1, ctypes.byref(shape_attr((1, 8, 4, 3)))) == PARAM
    assert "does not list" in line()
    C["rknn_destroy"](context)


def test_a_changed_shape_makes_the_value_void(line: Line) -> None:
    context = load(dynamic())
    set_input(context, np.ones((1, 3, 1, 4), np.float32))
    assert run(context) == OK
    C["rknn_set_input_shapes"](context, 1, ctypes.byref(shape_attr((2, 1, 4, 3))))
    assert run(context) == INPUT
    line()
    C["rknn_destroy"](context)


def test_runs_that_do_not_block(line: Line) -> None:
    context = load(slow())
    values = RNG.standard_normal((500, 500)).astype(np.float32)
    set_input(context, values)
    extend = rknn_run_extend(non_block=1)
    assert run(context, extend) == OK
    assert extend.frame_id == 1
    assert C["rknn_wait"](context, ctypes.byref(rknn_run_extend(timeout_ms=1))) == TIMEOUT
    line()
    assert C["rknn_wait"](context, None) == OK
    assert get(context, np.float32).tobytes() == values.tobytes()
    # Not waited for: rknn_outputs_get waits itself.
    assert run(context, extend) == OK
    assert extend.frame_id == 2
    assert get(context, np.float32).tobytes() == values.tobytes()
    # Nor before the next run.
    assert run(context, extend) == OK
    assert run(context, extend) == OK
    assert C["rknn_wait"](context, ctypes.byref(extend)) == OK
    assert extend.frame_id == 4
    # A blocking run that is cut short, then one that is not.
    assert run(context, rknn_run_extend(timeout_ms=5)) == TIMEOUT
    line()
    assert run(context, rknn_run_extend(timeout_ms=60000)) == OK
    # Nobody waits at all.
    assert run(context, extend) == OK
    assert C["rknn_destroy"](context) == OK


def test_an_error_of_a_run_that_does_not_block(line: Line) -> None:
    context = load(gather())
    set_input(context, np.array([0, 7], np.int64))
    assert run(context, rknn_run_extend(non_block=1)) == OK
    assert C["rknn_wait"](context, None) == FAIL
    line()
    assert C["rknn_wait"](context, None) == OK
    C["rknn_destroy"](context)

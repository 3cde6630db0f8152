"""Tensor memories: what they are, what they are bound to, and that nothing is left of them."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rkllmd.abi.layouts.rknn import rknn_run_extend, rknn_tensor_attr
from rkllmd.abi.layouts.rknn_constants import rknn_mem_flag, rknn_tensor_mem_flags
from tests.portable.rknn.client import (
    CTX,
    FAIL,
    INPUT,
    NCHW,
    NHWC,
    OK,
    OUTPUT,
    PARAM,
    C,
    attr,
    content,
    descriptors,
    get,
    load,
    memory,
    run,
    set_input,
)
from tests.portable.rknn.conftest import Line
from tests.portable.rknn.graphs import Array, dynamic, floats, quantised, reference

RNG = np.random.default_rng(5)
X = RNG.standard_normal((1, 3, 4, 4)).astype(np.float32)
INTEGERS = RNG.integers(-128, 128, (1, 3, 6, 5)).astype(np.int8)
Bind = Callable[[int, Any, rknn_tensor_attr], int]


def bind(context: int, made: Any, info: rknn_tensor_attr, **changes: Any) -> int:
    for name, value in changes.items():
        setattr(info, name, value)
    code: int = C["rknn_set_io_mem"](context, made, ctypes.byref(info))
    return code


def test_a_memory_is_a_sealed_file() -> None:
    context = load(floats())
    made = memory(context, 5000)
    struct = made.contents
    assert (struct.size, struct.offset, struct.phys_addr) == (5000, 0, 0)
    assert struct.flags == rknn_tensor_mem_flags.RKNN_TENSOR_MEMORY_FLAGS_ALLOC_INSIDE
    assert not content(made).any()
    assert os.fstat(struct.fd).st_size == 5000
    assert fcntl.fcntl(struct.fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    assert fcntl.fcntl(struct.fd, fcntl.F_GET_SEALS) == seals
    for size in (0, 10**6):
        with pytest.raises(PermissionError):
            os.ftruncate(struct.fd, size)
    with mmap.mmap(struct.fd, 5000) as shared:
        shared[7] = 9
    assert content(made)[7] == 9
    assert C["rknn_mem_sync"](context, made, 1) == OK
    assert C["rknn_destroy_mem"](context, made) == OK
    C["rknn_destroy"](context)


def test_impossible_sizes(line: Line) -> None:
    context = load(floats())
    assert not C["rknn_create_mem"](context, 0)
    line()
    assert not C["rknn_create_mem"](context, 2**31 + 1)
    line()
    assert not C["rknn_create_mem2"](context, 2**40, 0)
    line()
    assert not C["rknn_create_mem2"](context, 10, 1 << 40)
    line()
    C["rknn_destroy"](context)


def test_a_memory_of_no_context(line: Line) -> None:
    made = C["rknn_create_mem2"](0, 100, rknn_mem_flag.RKNN_MEM_FLAG_ALLOC_NO_CONTEXT | 1)
    assert made
    assert C["rknn_mem_sync"](0, made, 3) == OK
    assert C["rknn_mem_sync"](0, made, 0) == PARAM
    line()
    assert C["rknn_mem_sync"](9, made, 3) == CTX
    line()
    assert C["rknn_destroy_mem"](0, made) == OK
    assert C["rknn_destroy_mem"](0, made) == PARAM
    line()
    assert not C["rknn_create_mem2"](0, 100, 0)
    line()


def test_a_memory_outlives_its_context(line: Line) -> None:
    context = load(floats())
    made = memory(context, 100)
    C["rknn_destroy"](context)
    content(made)[:] = 3
    assert C["rknn_destroy_mem"](0, made) == CTX
    line()
    assert C["rknn_destroy_mem"](context, made) == OK


def test_nothing_is_left_behind() -> None:
    context = load(floats())
    before, maps = descriptors(), Path("/proc/self/maps").read_text().count("rknn-memory")
    for _ in range(50):
        made = memory(context, 10000)
        assert C["rknn_destroy_mem"](context, made) == OK
    assert descriptors() == before
    assert Path("/proc/self/maps").read_text().count("rknn-memory") == maps
    C["rknn_destroy"](context)


@pytest.mark.parametrize("seals", [0, fcntl.F_SEAL_SHRINK])
@pytest.mark.parametrize("offset", [0, 24, 4096, 5000])
def test_a_client_s_file(offset: int, seals: int, line: Line) -> None:
    context = load(floats())
    descriptor = os.memfd_create("client", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, offset + X.nbytes + 8)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    before = descriptors()
    made = C["rknn_create_mem_from_fd"](context, descriptor, None, X.nbytes, offset)
    assert made.contents.flags == rknn_tensor_mem_flags.RKNN_TENSOR_MEMORY_FLAGS_FROM_FD
    assert (made.contents.fd, made.contents.offset) == (descriptor, offset)
    os.pwrite(descriptor, X.tobytes(), offset)
    assert content(made).tobytes() == X.tobytes()
    target = C["rknn_create_mem_from_fd"](context, descriptor, None, 128, offset)
    assert bind(context, made, attr(context, "INPUT"), fmt=NCHW) == OK
    assert bind(context, target, attr(context, "OUTPUT")) == OK
    assert run(context) == OK
    assert os.pread(descriptor, 128, offset) == reference(floats(), {"x": X})[0].tobytes()
    if not seals:
        # The client takes its memory away: an error, and no SIGBUS.
        os.ftruncate(descriptor, 0)
        assert run(context) == FAIL
        line()
    for each in (made, target):
        assert C["rknn_destroy_mem"](context, each) == OK
    assert descriptors() == before
    os.close(descriptor)
    C["rknn_destroy"](context)


def test_a_file_on_disk_and_one_that_is_mapped_already(tmp_path: Path) -> None:
    context = load(floats())
    with open(tmp_path / "file", "w+b") as file:
        file.write(b"12345678" + X.tobytes())
        file.flush()
        made = C["rknn_create_mem_from_fd"](context, file.fileno(), None, X.nbytes, 8)
        with mmap.mmap(file.fileno(), 0) as mapping:
            view = np.frombuffer(mapping, np.uint8)
            mapped = C["rknn_create_mem_from_fd"](context, file.fileno(), view.ctypes.data, X.nbytes, 8)
            assert mapped.contents.virt_addr == view.ctypes.data
            for each in (made, mapped):
                assert bind(context, each, attr(context, "INPUT"), fmt=NCHW) == OK
                assert run(context) == OK
                assert get(context, np.float32).tobytes() == reference(floats(), {"x": X})[0].tobytes()
                assert C["rknn_destroy_mem"](context, each) == OK
            del view
    C["rknn_destroy"](context)


def test_files_that_do_not_do(tmp_path: Path, line: Line) -> None:
    context = load(floats())
    with open(tmp_path / "file", "w+b") as file:
        file.write(b"1234")
        file.flush()
        for descriptor, size, offset in (
            (-1, 4, 0),
            (file.fileno(), 4, 1),
            (file.fileno(), 4, -1),
            (file.fileno(), 0, 0),
        ):
            assert not C["rknn_create_mem_from_fd"](context, descriptor, None, size, offset)
            line()
    C["rknn_destroy"](context)


@pytest.mark.parametrize("command", ["NATIVE_INPUT", "NATIVE_NHWC_INPUT", "INPUT"])
@pytest.mark.parametrize("out_command", ["NATIVE_OUTPUT", "NATIVE_NHWC_OUTPUT", "OUTPUT"])
def test_memories_in_every_layout(command: str, out_command: str) -> None:
    context = load(quantised())
    info, out = attr(context, command), attr(context, out_command)
    source, target = memory(context, info.size), memory(context, out.size)
    assert bind(context, source, info, pass_through=1) == OK
    assert bind(context, target, out, pass_through=1) == OK
    given = INTEGERS.transpose(0, 2, 3, 1)
    if command == "NATIVE_INPUT":
        given = np.zeros((1, 1, 6, 5, 16), np.int8)
        given[0, 0, ..., :3] = INTEGERS[0].transpose(1, 2, 0)
    content(source, np.int8)[:] = given.ravel()
    assert run(context) == OK
    expected = reference(quantised(), {"x": INTEGERS})[0]
    got: Array = content(target, np.int8).reshape(out.dims[: out.n_dims])
    if out_command == "NATIVE_OUTPUT":
        assert not got[0, 1, ..., 4:].any()
        got = got.transpose(0, 1, 4, 2, 3).reshape(1, 32, 6, 5)[:, :20]
    elif out_command == "NATIVE_NHWC_OUTPUT":
        got = got.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(got, expected)
    # The next run reads anew.
    content(source, np.int8)[:] = 0
    run(context)
    zero = reference(quantised(), {"x": np.zeros_like(INTEGERS)})[0]
    assert get(context, np.int8).tobytes() == zero.tobytes()
    C["rknn_destroy"](context)
    for made in (source, target):
        C["rknn_destroy_mem"](context, made)


def test_memories_with_conversion() -> None:
    context = load(quantised())
    real = RNG.standard_normal((1, 6, 5, 3)).astype(np.float32)
    source, target, scores = memory(context, real.nbytes), memory(context, 2400), memory(context, 2400)
    assert bind(context, source, attr(context, "INPUT"), type=0, fmt=NHWC) == OK
    assert bind(context, target, attr(context, "OUTPUT"), type=0, fmt=NHWC) == OK
    assert bind(context, scores, attr(context, "OUTPUT", 1)) == OK
    content(source, np.float32)[:] = real.ravel()
    assert run(context, rknn_run_extend(non_block=1)) == OK
    assert C["rknn_wait"](context, None) == OK
    as_output = get(context, np.float32, want_float=1).reshape(1, 20, 6, 5)
    np.testing.assert_array_equal(content(target, np.float32).reshape(1, 6, 5, 20), as_output.transpose(0, 2, 3, 1))
    assert content(scores).tobytes() == get(context, np.float32, 1).tobytes()
    C["rknn_destroy"](context)
    for made in (source, target, scores):
        C["rknn_destroy_mem"](context, made)


def test_wrong_bindings(line: Line) -> None:
    context = load(floats())
    small, enough = memory(context, 10), memory(context, 200)
    assert bind(context, small, attr(context, "INPUT")) == INPUT
    line()
    assert bind(context, small, attr(context, "OUTPUT")) == OUTPUT
    line()
    assert bind(context, enough, attr(context, "INPUT"), type=77) == INPUT
    line()
    assert bind(context, enough, attr(context, "INPUT"), fmt=2) == PARAM
    line()
    assert bind(context, enough, rknn_tensor_attr(name=b"other")) == PARAM
    assert "no tensor other" in line()
    assert bind(context, enough, rknn_tensor_attr(index=3)) == PARAM
    line()
    assert bind(context, None, attr(context, "INPUT")) == PARAM
    line()
    assert C["rknn_set_io_mem"](context, enough, None) == PARAM
    line()
    # By index alone it is an input.
    assert bind(context, enough, rknn_tensor_attr(index=0)) == OK
    assert run(context) == OK
    C["rknn_destroy"](context)
    for made in (small, enough):
        C["rknn_destroy_mem"](context, made)


def test_a_bound_memory_is_destroyed(line: Line) -> None:
    context = load(floats())
    source, target = memory(context, 192), memory(context, 128)
    bind(context, source, attr(context, "INPUT"))
    bind(context, target, attr(context, "OUTPUT"))
    assert run(context, rknn_run_extend(non_block=1)) == OK
    assert C["rknn_destroy_mem"](context, source) == OK
    assert C["rknn_destroy_mem"](context, target) == OK
    assert C["rknn_wait"](context, None) == OK
    assert run(context) == INPUT
    assert "is destroyed" in line()
    assert run(context) == INPUT
    assert "is not set" in line()
    assert set_input(context, X) == OK
    assert run(context) == OK
    assert bind(context, source, attr(context, "INPUT")) == PARAM
    line()
    C["rknn_destroy"](context)


def test_the_last_word_on_an_input_counts() -> None:
    context = load(floats())
    source = memory(context, 192)
    bind(context, source, attr(context, "INPUT"), fmt=NCHW)
    assert set_input(context, X) == OK
    run(context)
    assert get(context, np.float32).tobytes() == reference(floats(), {"x": X})[0].tobytes()
    bind(context, source, attr(context, "INPUT"), fmt=NCHW)
    run(context)
    assert get(context, np.float32).tobytes() == reference(floats(), {"x": X * 0})[0].tobytes()
    C["rknn_destroy"](context)
    C["rknn_destroy_mem"](context, source)


def test_a_shape_outgrows_its_memories(line: Line) -> None:
    context = load(dynamic())
    source, target = memory(context, 48), memory(context, 48)
    bind(context, source, attr(context, "INPUT"))
    bind(context, target, attr(context, "OUTPUT"))
    assert run(context) == OK
    info = attr(context, "INPUT")
    info.dims[0] = 2
    assert C["rknn_set_input_shapes"](context, 1, ctypes.byref(info)) == OK
    assert run(context) == INPUT
    line()
    assert set_input(context, np.ones((2, 3, 1, 4), np.float32)) == OK
    assert run(context) == OUTPUT
    line()
    C["rknn_destroy"](context)
    for made in (source, target):
        C["rknn_destroy_mem"](context, made)


def test_memories_for_weights_and_in_between(line: Line) -> None:
    context = load(floats())
    enough, small = memory(context, 100000), memory(context, 10)
    for name in ("rknn_set_weight_mem", "rknn_set_internal_mem"):
        assert C[name](context, enough) == OK
        assert C[name](context, small) == PARAM
        line()
        assert C[name](context, None) == PARAM
        line()
    C["rknn_destroy"](context)
    for made in (small, enough):
        C["rknn_destroy_mem"](context, made)

"""Tensor memories of RKNN's simulator."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from array import array

import pytest

from rkllmd.abi.layouts.rknn_constants import rknn_error
from tests.simulator.rknn_player import Query, RknnSimulator, Type, content
from tests.simulator.tests.rknn.models import ANY, IMAGE, SUM, signed, wrapped

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


# ---- what it watches ------------------------------------------------------------------------------------------------


def test_a_bound_memory_that_is_gone(simulator: RknnSimulator, complaints: list[str]) -> None:
    context = simulator.init(ANY)
    source = context.attr(Query.RKNN_QUERY_INPUT_ATTR)
    memory = simulator.mem(context.handle, IMAGE)
    context.set_io_mem(memory, ctypes.byref(source))
    context.destroy_mem(memory)
    assert context.run(None) == rknn_error.RKNN_ERR_INPUT_INVALID
    context.destroy()
    complaints.append("the memory that was bound to image is destroyed")

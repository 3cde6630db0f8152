"""Tensor memories: sealed files of ours, files of others, and what becomes of them."""

from __future__ import annotations

import ctypes
import fcntl
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rkllmd.abi.layouts.rknn import rknn_tensor_mem
from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.tensors import memories
from tests.portable.rknn.client import descriptors


def at(address: int) -> Any:
    return ctypes.cast(address, ctypes.POINTER(rknn_tensor_mem))


def numbers(count: int) -> Any:
    return np.arange(count, dtype=np.uint8)


def test_a_memory_of_ours_is_a_file_of_a_fixed_size() -> None:
    before = descriptors()
    pointer = at(memories.allocate(7, 64))
    memory = memories.find(pointer)
    assert (memory.owner, memory.size, memory.read(64).tolist()) == (7, 64, [0] * 64)
    memory.write(numbers(8))
    assert os.pread(pointer.contents.fd, 9, 0) == bytes([*range(8), 0])
    with pytest.raises(OSError, match="Operation not permitted"):
        os.ftruncate(pointer.contents.fd, 1)
    memories.destroy(memory)
    assert not memory.is_alive
    assert descriptors() == before


def test_what_is_no_memory_or_is_one_no_more_is_not_looked_into() -> None:
    pointer = at(memories.allocate(0, 8))
    memories.destroy(memories.find(pointer))
    stranger = rknn_tensor_mem(size=8)
    for wrong in (pointer, ctypes.pointer(stranger), at(0)):
        with pytest.raises(RknnError, match="no memory of rknn_create_mem"):
            memories.find(wrong)


@pytest.mark.parametrize("size", [0, -1, 2**31 + 1])
def test_impossible_sizes(size: int) -> None:
    before = descriptors()
    with pytest.raises(RknnError, match="is not possible"):
        memories.allocate(0, size)
    with pytest.raises(RknnError, match="is not possible"):
        memories.adopt(0, 0, None, size, 0)
    assert descriptors() == before


@pytest.mark.parametrize("seals", [0, fcntl.F_SEAL_SHRINK])
def test_a_file_of_others_is_read_in_place_only_if_it_can_not_shrink(seals: int) -> None:
    """An access behind the end of a mapped file would end this process."""
    descriptor = os.memfd_create("theirs", os.MFD_ALLOW_SEALING)
    os.write(descriptor, bytes(range(100)))
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    memory = memories.find(at(memories.adopt(0, descriptor, None, 10, 20)))
    assert memory.read(10).tolist() == list(range(20, 30))
    memory.write(numbers(3))
    assert os.pread(descriptor, 4, 20) == bytes([0, 1, 2, 23])
    if not seals:
        os.ftruncate(descriptor, 25)
        with pytest.raises(RknnError, match="has become shorter"):
            memory.read(10)
    os.close(descriptor)
    assert memory.read(5).tolist() == [0, 1, 2, 23, 24], "the descriptor is not needed any more"
    memories.destroy(memory)


def test_the_address_that_the_caller_gives_is_shown() -> None:
    descriptor = os.memfd_create("theirs")
    os.ftruncate(descriptor, 8)
    pointer = at(memories.adopt(0, descriptor, 4096, 8, 0))
    assert pointer.contents.virt_addr == 4096
    memories.destroy(memories.find(pointer))
    os.close(descriptor)


@pytest.mark.parametrize(
    ("size", "offset", "said"), [(8, -1, "the offset is -1"), (8, 1, "cannot be mapped from 0 to 9")]
)
def test_what_can_not_be_had_of_a_file(tmp_path: Path, size: int, offset: int, said: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(8))
    descriptor = os.open(path, os.O_RDWR)
    before = descriptors()
    with pytest.raises(RknnError, match=said):
        memories.adopt(0, descriptor, None, size, offset)
    assert descriptors() == before
    os.close(descriptor)

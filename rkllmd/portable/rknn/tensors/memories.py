"""Tensor memories: shared memory with a descriptor that can be passed to another process.

The memory of rknn_create_mem is an anonymous file whose size is sealed: whoever gets the descriptor cannot shrink it,
which would end this process with SIGBUS at its next access. The memory of rknn_create_mem_from_fd is somebody else's
file.
The runtime maps it itself, and only shows a ``virt_addr`` that the caller gives; if the file's size is not sealed, the
runtime accesses it by read and write calls, which can fail.

The bytes of a memory are at ``offset`` in ``fd``. The mapping that the runtime shows begins at the file's beginning, so
they are at ``virt_addr + offset`` (``virt_addr`` is "without offset", says the vendor's header).
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import stat

import numpy as np

from rkllmd.abi.layouts.rknn import rknn_tensor_mem
from rkllmd.abi.layouts.rknn_constants import rknn_error, rknn_tensor_mem_flags
from rkllmd.portable.rknn.c_memory import Bytes, view
from rkllmd.portable.rknn.errors import RknnError, require

MOST = 2**31
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Memory:
    """One memory. ``owner`` is the handle of the context for which it was made, 0 if it was made for none.

    ``is_alive`` is False once it is destroyed: then no context to which it is bound may access it.
    """

    def __init__(self, owner: int, struct: rknn_tensor_mem, mapping: mmap.mmap, closing: int | None) -> None:
        self.owner = owner
        self.struct = struct
        self.is_alive = True
        self._address = _address(mapping) + struct.offset
        self._mapping = mapping
        self._closing = closing
        self._called: int | None = None

    @property
    def size(self) -> int:
        """How many bytes a tensor in it may have."""
        return int(self.struct.size)

    def access_by_calls(self, descriptor: int) -> None:
        """Read and write through a descriptor instead of in place; it is closed when the memory is destroyed."""
        self._called = self._closing = descriptor

    def read(self, size: int) -> Bytes:
        """Return the first ``size`` bytes, which may change while they are read; RKNN_ERR_FAIL if some are gone."""
        if self._called is None:
            return self._in_place(size)
        content = np.empty(size, np.uint8)
        if os.preadv(self._called, [content.data], self.struct.offset) != size:
            raise RknnError(rknn_error.RKNN_ERR_FAIL, "the file of a memory has become shorter than the memory")
        return content

    def write(self, content: Bytes) -> None:
        """Put ``content`` at the beginning; RKNN_ERR_FAIL if the file takes less."""
        if self._called is None:
            self._in_place(content.size)[:] = content
        elif os.pwritev(self._called, [content.data], self.struct.offset) != content.size:
            raise RknnError(rknn_error.RKNN_ERR_FAIL, "the file of a memory does not take all of an output")

    def destroy(self) -> None:
        """Unmap the memory and close the descriptor that is ours."""
        self.is_alive = False
        self._mapping.close()
        if self._closing is not None:
            os.close(self._closing)

    def _in_place(self, size: int) -> Bytes:
        return view(self._address, size)


# By the address of the struct that the caller holds. An address that is not here is never looked into.
_memories: dict[int, Memory] = {}


def find(pointer: ctypes._Pointer[rknn_tensor_mem]) -> Memory:
    """Return the memory that a caller points to; RKNN_ERR_PARAM_INVALID if it is none or destroyed."""
    memory = _memories.get(ctypes.addressof(pointer.contents)) if pointer else None
    if memory is None:
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, "this is no memory of rknn_create_mem, or it is destroyed")
    return memory


def allocate(owner: int, size: int) -> int:
    """Make a memory of zeros and return the address of its struct. RKNN_ERR_PARAM_INVALID for an impossible size."""
    _check_size(size)
    descriptor = os.memfd_create("rknn-memory", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        mapping = mmap.mmap(descriptor, size)
    except BaseException:
        os.close(descriptor)
        raise
    struct = rknn_tensor_mem(
        virt_addr=_address(mapping),
        fd=descriptor,
        size=size,
        flags=rknn_tensor_mem_flags.RKNN_TENSOR_MEMORY_FLAGS_ALLOC_INSIDE,
    )
    return _enter(Memory(owner, struct, mapping, descriptor))


def adopt(owner: int, descriptor: int, address: int | None, size: int, offset: int) -> int:
    """Make a memory of ``size`` bytes at ``offset`` of a caller's file, and return the address of its struct.

    ``address`` becomes ``virt_addr``, if it is given. The descriptor stays the caller's and is not needed any more.
    RKNN_ERR_PARAM_INVALID for what cannot be had of this file.
    """
    _check_size(size)
    require(offset >= 0, rknn_error.RKNN_ERR_PARAM_INVALID, f"the offset is {offset}")
    struct = rknn_tensor_mem(
        fd=descriptor,
        offset=offset,
        size=size,
        flags=rknn_tensor_mem_flags.RKNN_TENSOR_MEMORY_FLAGS_FROM_FD,
    )
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        mapping = mmap.mmap(descriptor, offset + size)
    except (OSError, ValueError) as error:
        raise RknnError(
            rknn_error.RKNN_ERR_PARAM_INVALID,
            f"descriptor {descriptor} cannot be mapped from 0 to {offset + size}: {error}",
        ) from error
    struct.virt_addr = address or _address(mapping)
    memory = Memory(owner, struct, mapping, None)
    if is_file and not _keeps_its_size(descriptor):
        memory.access_by_calls(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 0))
    return _enter(memory)


def destroy(memory: Memory) -> None:
    """Destroy a memory: its struct may not be used any more."""
    del _memories[ctypes.addressof(memory.struct)]
    memory.destroy()


def _enter(memory: Memory) -> int:
    address = ctypes.addressof(memory.struct)
    _memories[address] = memory
    return address


def _check_size(size: int) -> None:
    if not 0 < size <= MOST:
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"a memory of {size} bytes is not possible")


def _address(mapping: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))


def _keeps_its_size(descriptor: int) -> bool:
    try:
        return bool(fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK)
    except OSError:
        return False  # it is no memfd, and so has no seals

"""Memory that is shared with clients by file descriptor: checked, mapped, made.

Measured: whoever can shorten a file that the daemon has mapped can end the daemon by SIGBUS. So only two kinds of
descriptor are mapped: a memfd sealed against shrinking (memfd_create(2), F_SEAL_SHRINK in fcntl(2)), and a dma-buf,
whose size never changes.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rkllmd import open_files
from rkllmd.abi.c import addressof, c_char
from rkllmd.errors import InvalidParams

# linux/dma-buf.h: DMA_BUF_IOCTL_SYNC, an _IOW('b', 0, struct dma_buf_sync) of one uint64.
_DMA_BUF_IOCTL_SYNC: Final = 0x40086200
_DMA_BUF_SYNC_READ: Final = 1
# fcntl(2) numbers that Python 3.11 does not name.
_F_ADD_SEALS: Final = 1033
_F_GET_SEALS: Final = 1034
_F_SEAL_SEAL: Final = 0x1
_F_SEAL_SHRINK: Final = 0x2
_F_SEAL_GROW: Final = 0x4
_F_SEAL_WRITE: Final = 0x8


def size_of(fd: int, path: str) -> int:
    """Return the size in bytes of a file that can be mapped without danger. Raises InvalidParams."""
    if is_dma_buf(fd):
        return os.lseek(fd, 0, os.SEEK_END)
    try:
        seals = fcntl.fcntl(fd, _F_GET_SEALS)
    except OSError:  # what is asked further might have to be answered by a server of files that does not
        raise _refused(path, "is neither a memfd nor a dma-buf: a file on a disk can be cut short") from None
    if not seals & _F_SEAL_SHRINK:
        raise _refused(path, "is not sealed against shrinking (F_SEAL_SHRINK)")
    # Holes can be made in spite of the seal. To fill one needs a free huge page: if there is none, that is a SIGBUS.
    if os.fstatvfs(fd).f_bsize != mmap.PAGESIZE:
        raise _refused(path, "is made of huge pages, which may run out")
    return os.fstat(fd).st_size


def is_dma_buf(fd: int) -> bool:
    """Return whether ``fd`` is a dma-buf: only these show their exporter's name (kernel 5.3 and later)."""
    try:
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    except OSError as error:
        open_files.raise_shortage(error)
        return False
    return any(line.startswith("exp_name:") for line in lines)


def is_sealed(fd: int) -> bool:
    """Return whether the descriptor may be given to a client: it can't shorten the file that the daemon has mapped."""
    if is_dma_buf(fd):
        return True
    try:
        return bool(fcntl.fcntl(fd, _F_GET_SEALS) & _F_SEAL_SHRINK)
    except OSError:
        return False


def map_private(fd: int, offset: int, size: int, path: str) -> memoryview:
    """Return the contents as bytes that can be written to without the client seeing it. Raises InvalidParams."""
    if is_dma_buf(fd):  # exporters allow only shared mappings, and the CPU's caches have to be synchronised first
        fcntl.ioctl(fd, _DMA_BUF_IOCTL_SYNC, struct.pack("Q", _DMA_BUF_SYNC_READ))
        return _map(fd, offset, size, mmap.MAP_SHARED, path)
    return _map(fd, offset, size, mmap.MAP_PRIVATE, path)


def map_shared(fd: int, offset: int, size: int, path: str) -> memoryview:
    """Return the contents as bytes that the client sees change. Raises InvalidParams."""
    return _map(fd, offset, size, mmap.MAP_SHARED, path)


def address_of(view: memoryview) -> int:
    """Return where in memory a writable view begins, 0 if it is empty; keep the view as long as the address is used."""
    if not view.nbytes:
        return 0
    return addressof(c_char.from_buffer(view))


def make(data: bytes | bytearray | memoryview) -> int:
    """Return a new memfd that holds ``data`` and can't be changed any more."""
    return make_of([(0, data)])


def make_of(parts: Iterable[tuple[int, bytes | bytearray | memoryview]]) -> int:
    """Return a new memfd that holds each part at its offset and can't be changed any more."""
    fd = os.memfd_create("rkllmd-tensor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for offset, data in parts:
            view = memoryview(data).cast("B")
            while view:
                written = os.pwrite(fd, view, offset)
                view, offset = view[written:], offset + written
        fcntl.fcntl(fd, _F_ADD_SEALS, _F_SEAL_SHRINK | _F_SEAL_GROW | _F_SEAL_WRITE | _F_SEAL_SEAL)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _map(fd: int, offset: int, size: int, flags: int, path: str) -> memoryview:
    if not size:
        return memoryview(bytearray())  # a mapping can't be empty
    before = offset % mmap.ALLOCATIONGRANULARITY
    try:
        mapped = mmap.mmap(
            fd, before + size, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE, offset=offset - before
        )
    except (OSError, ValueError) as error:
        open_files.raise_shortage(error)
        # sealed against writing, or a descriptor opened for reading
        raise _refused(path, f"can't be mapped for reading and writing ({error})") from None
    return memoryview(mapped)[before : before + size]


def _refused(path: str, why: str) -> InvalidParams:
    return InvalidParams(f"{path}: the file descriptor {why}.", path=path, keyword="fd")

"""Memory shared by descriptor: what could make us die is refused, what is private stays so, what we make is sealed."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rkllmd.errors import InvalidParams
from rkllmd.machine import shared_memory

ADD_SEALS, GET_SEALS = 1033, 1034
SEAL, SHRINK, GROW, WRITE = 1, 2, 4, 8
PAGE = mmap.PAGESIZE


@pytest.fixture
def opened() -> Iterator[Callable[[int], int]]:
    """Return a function that has descriptors closed at the end."""
    fds: list[int] = []

    def keep(fd: int) -> int:
        fds.append(fd)
        return fd

    yield keep
    for fd in fds:
        os.close(fd)


def memfd(data: bytes, seals: int = SHRINK) -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    fcntl.fcntl(fd, ADD_SEALS, seals)
    return fd


def refused(fd: int, words: str) -> None:
    with pytest.raises(InvalidParams, match=words) as caught:
        shared_memory.size_of(fd, "$.fd")
    assert (caught.value.data["path"], caught.value.data["keyword"]) == ("$.fd", "fd")
    assert not shared_memory.is_dma_buf(fd)


@pytest.mark.parametrize("seals", [SHRINK, SHRINK | GROW, SHRINK | GROW | SEAL, SHRINK | WRITE])
def test_a_memfd_that_can_not_shrink(opened: Callable[[int], int], seals: int) -> None:
    fd = opened(memfd(b"x" * 5000, seals))
    assert shared_memory.size_of(fd, "$") == 5000
    assert shared_memory.is_sealed(fd)
    assert not shared_memory.is_dma_buf(fd)


@pytest.mark.parametrize("seals", [0, GROW, WRITE, GROW | WRITE])
def test_a_memfd_that_may_shrink_is_refused(opened: Callable[[int], int], seals: int) -> None:
    """Its owner could shorten it while it is mapped, which is a SIGBUS for us."""
    fd = opened(memfd(b"x", seals))
    refused(fd, "not sealed against shrinking")
    assert not shared_memory.is_sealed(fd)


def test_a_memfd_that_can_not_be_sealed_is_refused(opened: Callable[[int], int]) -> None:
    fd = opened(os.memfd_create("test"))
    os.write(fd, b"x")
    refused(fd, "not sealed against shrinking")


def test_a_file_is_refused(opened: Callable[[int], int], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * PAGE)
    for flags in (os.O_RDONLY, os.O_RDWR):
        fd = opened(os.open(path, flags))
        refused(fd, "neither a memfd nor a dma-buf|not sealed")
        assert not shared_memory.is_sealed(fd)


def test_a_file_in_memory_is_refused(opened: Callable[[int], int]) -> None:
    """A tmpfs answers what seals it has: none that would help."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(b"x")
        file.flush()
        refused(opened(os.dup(file.fileno())), "not sealed against shrinking")


@pytest.mark.parametrize("path", ["/", "/dev/zero", "/dev/null"])
def test_what_is_no_file_is_refused(opened: Callable[[int], int], path: str) -> None:
    fd = opened(os.open(path, os.O_RDONLY))
    refused(fd, "neither a memfd nor a dma-buf")
    assert not shared_memory.is_sealed(fd)


def test_sockets_and_pipes_are_refused(opened: Callable[[int], int]) -> None:
    for fd in (*os.pipe(), *(end.detach() for end in socket.socketpair()), os.eventfd(0)):
        refused(opened(fd), "neither a memfd nor a dma-buf")
        assert not shared_memory.is_sealed(fd)


def test_a_file_that_is_opened_without_leave_to_read_is_refused(opened: Callable[[int], int], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    refused(opened(os.open(tmp_path / "file", os.O_PATH)), "neither a memfd nor a dma-buf")


def test_a_private_mapping_is_not_written_through(opened: Callable[[int], int]) -> None:
    fd = opened(memfd(b"abcdef"))
    view = shared_memory.map_private(fd, 0, 6, "$")
    assert bytes(view) == b"abcdef"
    view[0:3] = b"XYZ"
    assert bytes(view) == b"XYZdef"
    assert os.pread(fd, 6, 0) == b"abcdef"


def test_what_is_sealed_against_writing_can_still_be_read_privately(opened: Callable[[int], int]) -> None:
    """A client may seal all there is; so do we."""
    fd = opened(memfd(b"abcdef", SHRINK | GROW | WRITE | SEAL))
    view = shared_memory.map_private(fd, 0, 6, "$")
    view[0] = 0
    assert os.pread(fd, 6, 0) == b"abcdef"
    with pytest.raises(InvalidParams, match="can't be mapped") as caught:
        shared_memory.map_shared(fd, 0, 6, "$.fd")
    assert caught.value.data == {"path": "$.fd", "keyword": "fd"}


def test_a_shared_mapping_is_written_through_both_ways(opened: Callable[[int], int]) -> None:
    fd = opened(memfd(b"abcdef"))
    view = shared_memory.map_shared(fd, 0, 6, "$")
    view[0:3] = b"XYZ"
    assert os.pread(fd, 6, 0) == b"XYZdef"
    os.pwrite(fd, b"!", 5)
    assert bytes(view) == b"XYZde!"


@pytest.mark.parametrize("offset", [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 5])
@pytest.mark.parametrize("size", [1, 4, PAGE, PAGE + 1])
def test_a_part_that_begins_anywhere(opened: Callable[[int], int], offset: int, size: int) -> None:
    data = bytes(index % 251 for index in range(4 * PAGE))
    fd = opened(memfd(data))
    for map_it in (shared_memory.map_private, shared_memory.map_shared):
        view = map_it(fd, offset, size, "$")
        assert bytes(view) == data[offset : offset + size]
        assert (ctypes.c_ubyte * size).from_address(shared_memory.address_of(view))[:] == list(view)


def test_a_mapping_outlives_its_descriptor() -> None:
    fd = memfd(b"abcdef")
    view = shared_memory.map_private(fd, 0, 6, "$")
    os.close(fd)
    assert bytes(view) == b"abcdef"


def test_a_mapping_beyond_the_end_is_refused(opened: Callable[[int], int]) -> None:
    """Its pages would be a SIGBUS: attachments check the size first, and Python does as well."""
    fd = opened(memfd(b"x" * 10))
    for map_it in (shared_memory.map_private, shared_memory.map_shared):
        with pytest.raises(InvalidParams):
            map_it(fd, 0, 2 * PAGE, "$")


def test_a_descriptor_opened_for_reading_can_not_be_shared(opened: Callable[[int], int]) -> None:
    fd = opened(memfd(b"abcdef"))
    readable = opened(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY))
    assert bytes(shared_memory.map_private(readable, 0, 6, "$")) == b"abcdef"
    with pytest.raises(InvalidParams, match="can't be mapped"):
        shared_memory.map_shared(readable, 0, 6, "$")


@pytest.mark.parametrize("data", [b"", b"abc", bytearray(b"abc"), memoryview(b"abc"), bytes(3 << 20)])
def test_what_we_make_can_not_be_changed(opened: Callable[[int], int], data: bytes | bytearray | memoryview) -> None:
    fd = opened(shared_memory.make(data))
    assert fcntl.fcntl(fd, GET_SEALS) == SEAL | SHRINK | GROW | WRITE
    assert os.pread(fd, len(data) + 1, 0) == bytes(data)
    assert shared_memory.size_of(fd, "$") == len(data), "and a client may send it back"
    assert shared_memory.is_sealed(fd)
    assert not os.get_inheritable(fd)
    for change in (
        lambda: os.ftruncate(fd, 0) if len(data) else os.ftruncate(fd, 1),
        lambda: os.ftruncate(fd, len(data) + 1),
        lambda: os.pwrite(fd, b"x", 0),
        lambda: fcntl.fcntl(fd, ADD_SEALS, SHRINK),
    ):
        with pytest.raises(PermissionError):
            change()


def test_what_has_elements_is_written_as_its_bytes(opened: Callable[[int], int]) -> None:
    fd = opened(shared_memory.make(memoryview((ctypes.c_int32 * 3)(1, 2, 3)).cast("B").cast("i")))
    assert os.pread(fd, 100, 0) == bytes((ctypes.c_int32 * 3)(1, 2, 3))

"""How tensor memories are counted, given to their client, and shared by descriptor."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.layouts.rknn import rknn_tensor_mem
from rkllmd.calls.invocation import Invocation
from rkllmd.config.settings import Config
from rkllmd.errors import Cancelled, InvalidParams, NotSupported, OutOfMemory
from rkllmd.machine import shared_memory
from rkllmd.vision.objects import Context, TensorMemory
from rknn import _memories
from tests.vision.rooms import USER, Room, invocation


@pytest.fixture
def room() -> Room:
    room = Room()
    room.runtime.library = SimpleNamespace(runtime="rknn 2.3.2")
    return room


@pytest.fixture
def sealed() -> Iterator[int]:
    """Return the descriptor of a memory that can be shared without danger."""
    descriptor = shared_memory.make(b"x" * 64)
    yield descriptor
    os.close(descriptor)


def memory(fd: int = -1, address: int = 4096, size: int = 64) -> TensorMemory:
    struct = rknn_tensor_mem(virt_addr=address, fd=fd, offset=16, size=size)
    return _memories.wrap(Context(path="", size_bytes=0, flag=0), ctypes.pointer(struct), 64)


def call(*, reply_fds: bool = False) -> Invocation:
    made = invocation()
    members: Any = SimpleNamespace(members=SimpleNamespace(reply_fds=reply_fds))
    made.call = members
    return made


@pytest.mark.parametrize(
    ("user", "setting", "available"),
    [(USER, "max_memory_bytes_per_user", 32), (USER + 1, "max_memory_bytes", 72), (None, "max_memory_bytes", 72)],
    ids=["whose they are", "another user", "the daemon"],
)
def test_memory_is_counted_over_all_clients_and_for_each_user(
    room: Room, user: int | None, setting: str, available: int
) -> None:
    room.current.config = Config(max_memory_bytes=200, max_memory_bytes_per_user=160)
    room.memory(owner=2)
    room.memory(owner=None)
    asking = call()
    asking.client.user = user
    available -= 0 if user in (USER, None) else 200 // 16  # what is left for operators
    _memories.check_limits(room, asking, available)
    with pytest.raises(OutOfMemory, match=setting) as caught:
        _memories.check_limits(room, asking, available + 1)
    data = caught.value.data
    assert (data["needed_bytes"], data["available_bytes"]) == (available + 1, available)
    assert data["whose"] == ("user" if user == USER else "all")
    assert [item["size_bytes"] for item in data["loaded"]] == [64, 64]


@pytest.mark.parametrize(("in_c", "size"), [(64, 64), (48, 48), (128, 64)])
def test_a_memory_is_as_large_as_both_sides_say(in_c: int, size: int) -> None:
    assert memory(size=in_c).size == size


@pytest.mark.parametrize("keep", [True, False])
def test_a_memory_belongs_to_its_client_unless_it_is_kept(room: Room, keep: bool) -> None:
    made = memory()
    result = _memories.add(room, call(), made, keep=keep)
    assert result == {"success": True, "status": 0, "mem": made.number, "size": 64}
    assert room.memories.owner_of(made.number) == (None if keep else 1)


def test_it_is_shared_by_a_descriptor_of_the_clients_own(room: Room, sealed: int) -> None:
    asking = call(reply_fds=True)
    result = _memories.add(room, asking, memory(sealed), keep=False)
    assert (result["fd"], result["offset"]) == (0, 16)
    (given,) = asking.fds
    assert given != sealed
    assert os.fstat(given).st_ino == os.fstat(sealed).st_ino
    asking.fds.close()


@pytest.mark.parametrize("fd", ["none", "unsealed"])
def test_what_could_be_cut_short_is_not_shared(room: Room, fd: str) -> None:
    """Whoever has the descriptor could end the daemon by it."""
    descriptor = -1 if fd == "none" else os.memfd_create("unsealed")
    made = memory(descriptor)
    with pytest.raises(NotSupported, match="reply_fds"):
        _memories.add(room, call(reply_fds=True), made, keep=False)
    assert room.runtime.called == ["rknn_destroy_mem"]
    assert not made.is_alive
    assert [*room.memories] == []
    if descriptor >= 0:
        os.close(descriptor)


def test_what_has_no_address_here_or_nobody_who_waits_is_destroyed(room: Room) -> None:
    with pytest.raises(NotSupported, match="without an address"):
        _memories.add(room, call(), memory(address=0), keep=False)
    cancelled = call()
    assert cancelled.job is not None
    cancelled.job.cancelled = True
    with pytest.raises(Cancelled):
        _memories.add(room, cancelled, memory(), keep=True)
    assert room.runtime.called == ["rknn_destroy_mem"] * 2
    assert [*room.memories] == []


def test_a_memory_that_is_too_small_for_what_goes_into_it_is_refused() -> None:
    _memories.check_size(memory(size=64), 64, "A")
    with pytest.raises(InvalidParams, match="has 64 bytes, but A takes 65") as caught:
        _memories.check_size(memory(size=64), 65, "A")
    assert (caught.value.data["path"], caught.value.data["limit"]) == ("$.mem", 65)

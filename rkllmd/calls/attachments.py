"""What the tensors of a call refer to beside JSON: descriptors that came with it, and tensor memories.

Everything that a client says about them is checked here: which descriptor, which memory, from where, how much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from rkllmd.errors import InvalidHandle, InvalidParams
from rkllmd.machine import shared_memory


class Memory(Protocol):
    """A tensor memory, as far as what a call refers to is concerned."""

    number: int
    size: int

    @property
    def is_alive(self) -> bool:
        """Return whether it is not destroyed yet."""

    def view(self, offset: int, size: int) -> memoryview:
        """Return a part of the contents, in place."""


class NotYet(Exception):
    """What a call refers to is read on the worker thread only; nobody outside dispatch sees this."""


class Attachments:
    """The descriptors and memories that one call may use."""

    def __init__(self, fds: Sequence[int] = (), find_memory: Callable[[int], Memory] | None = None) -> None:
        """``find_memory`` raises the error for a handle that is none, or another client's."""
        self._fds = fds
        self._find_memory = find_memory
        self._borrowed: list[Memory] = []
        # Converting megabytes takes long, and a memory must not be destroyed meanwhile.
        self.is_on_worker = False

    def descriptor(self, value: dict[str, Any], path: str) -> int:
        """Return the descriptor that ``{"fd": n}`` names; it stays the connection's. Raises InvalidParams."""
        index = value["fd"]
        if type(index) is not int or not 0 <= index < len(self._fds):
            raise InvalidParams(
                f"{path}.fd counts the descriptors that came with the request, from 0; {len(self._fds)} came.",
                path=f"{path}.fd",
                keyword="maximum",
                limit=len(self._fds) - 1,
            )
        return self._fds[index]

    def bytes_of(self, value: dict[str, Any], path: str) -> memoryview:
        """Return the bytes that ``{"fd": …}`` or ``{"mem": …}`` means, writable, in place. Raises RpcError, NotYet."""
        if not self.is_on_worker:
            raise NotYet
        if "mem" in value:
            memory = self.memory(value["mem"], path)
            offset, size = span_of(value, memory.size, path)
            return memory.view(offset, size)
        fd = self.descriptor(value, path)
        offset, size = span_of(value, shared_memory.size_of(fd, path), path)
        return shared_memory.map_private(fd, offset, size, path)

    def memory(self, number: Any, path: str) -> Memory:
        """Return a tensor memory and remember that the call uses it. Raises InvalidParams, InvalidHandle, NotYours."""
        if type(number) is not int or number < 1 or self._find_memory is None:
            raise InvalidParams(f"{path}.mem must be a handle.", path=f"{path}.mem", keyword="minimum", limit=1)
        memory = self._find_memory(number)
        self._borrowed.append(memory)
        return memory

    def check(self) -> None:
        """Make sure that what was borrowed while the call was prepared is still there, now that its turn has come.

        Raises InvalidHandle.
        """
        for memory in self._borrowed:
            if not memory.is_alive:
                raise InvalidHandle("A tensor memory was destroyed while the call waited.", handle=memory.number)


def span_of(value: dict[str, Any], available: int, path: str, least: int = 0) -> tuple[int, int]:
    """Return offset and size of a part of ``available`` bytes, all of the rest by default; ``least``: of the size.

    Raises InvalidParams.
    """
    offset = _count(value, "offset", 0, path)
    size = _count(value, "size", available - offset, path)
    if offset + size > available or size < least:  # 0: a tensor without elements
        raise InvalidParams(
            f"{path}: offset and size must lie within the {available} bytes that there are.",
            path=path,
            keyword="maximum",
            limit=available,
        )
    return offset, size


def _count(value: dict[str, Any], name: str, default: int, path: str) -> int:
    number = value.get(name)
    if number is None:
        return default
    if type(number) is not int or not 0 <= number < 1 << 48:
        raise InvalidParams(
            f"{path}.{name} must be a number of bytes.", path=f"{path}.{name}", keyword="minimum", limit=0
        )
    return number

"""What the tensors of a call refer to beside JSON: descriptors that came with it, and tensor memories.

Everything that a client says about them is checked here: which descriptor, which memory, from where, how much.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from rkllmd.abi.json.schemas import TENSOR_MEMBERS
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject
from rkllmd.machine import shared_memory
from rkllmd.wire.descriptors import NO_DESCRIPTORS, Descriptors

# Where the bytes of a tensor are.
_FORMS: Final = frozenset({"data", "fd", "mem"})


class TensorMemory(Protocol):
    """A tensor memory, as far as a call can refer to it."""

    number: int
    size: int

    def view(self, offset: int, size: int) -> memoryview:
        """Return a part of the contents, in place."""


class Attachments:
    """The descriptors and memories that one call may use."""

    def __init__(
        self, fds: Descriptors = NO_DESCRIPTORS, find_memory: Callable[[int], TensorMemory] | None = None
    ) -> None:
        """``find_memory`` raises the error for a handle that does not exist, or belongs to another client."""
        self._fds = fds
        self._find_memory = find_memory

    def descriptor(self, value: JsonObject, path: str) -> int:
        """Return the descriptor that ``{"fd": n}`` names; the call still owns it. Raises InvalidParams."""
        index = value["fd"]
        if type(index) is not int or not 0 <= index < len(self._fds):
            raise InvalidParams(
                f"{path}.fd counts the descriptors that came with the request, from 0; {len(self._fds)} came.",
                path=f"{path}.fd",
                keyword="maximum",
                limit=len(self._fds) - 1,
            )
        return self._fds[index]

    def bytes_of(self, value: JsonObject, path: str) -> memoryview:
        """Return the bytes that ``{"fd": …}`` or ``{"mem": …}`` means, writable and not copied; on the worker thread.

        Raises RpcError.
        """
        if "mem" in value:
            memory = self.memory(value["mem"], path)
            offset, size = span_of(value, memory.size, path)
            return memory.view(offset, size)
        fd = self.descriptor(value, path)
        offset, size = span_of(value, shared_memory.size_of(fd, path), path)
        return shared_memory.map_private(fd, offset, size, path)

    def memory(self, number: Json, path: str) -> TensorMemory:
        """Return a tensor memory. Raises InvalidParams, InvalidHandle, NotYours."""
        if type(number) is not int or number < 1 or self._find_memory is None:
            raise InvalidParams(f"{path}.mem must be a handle.", path=f"{path}.mem", keyword="minimum", limit=1)
        return self._find_memory(number)


def are_named_in(struct: Json) -> bool:
    """Return whether a struct's JSON, or an array of them, has a tensor that is given by descriptor or by memory."""
    if isinstance(struct, list):
        # Only the first element decides whether to look further: there may be a million numbers.
        return bool(struct) and isinstance(struct[0], dict) and any(map(are_named_in, struct))
    return isinstance(struct, dict) and any(_is_reference(item) or are_named_in(item) for item in struct.values())


def _is_reference(value: Json) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() <= TENSOR_MEMBERS
        and len(value.keys() & _FORMS) == 1
        and "data" not in value
    )


def span_of(value: JsonObject, available: int, path: str, least: int = 0) -> tuple[int, int]:
    """Return offset and size of a part of ``available`` bytes; by default all the rest. ``least``: the smallest size.

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


def _count(value: JsonObject, name: str, default: int, path: str) -> int:
    number = value.get(name)
    if number is None:
        return default
    if type(number) is not int or not 0 <= number < 1 << 48:
        raise InvalidParams(
            f"{path}.{name} must be a number of bytes.", path=f"{path}.{name}", keyword="minimum", limit=0
        )
    return number

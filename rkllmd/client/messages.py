"""Requests to bytes and bytes to messages: what the plain and the trio client share, without a connection."""

from __future__ import annotations

import array
import base64
import math
import mmap
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import orjson

from rkllmd.client.arguments import Array, Params, Tensor
from rkllmd.client.errors import CallError
from rkllmd.client.recovery import Lost
from rkllmd.json_types import Json, JsonObject
from rkllmd.machine import shared_memory
from rkllmd.wire.lines import LineBuffer

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Rights: TypeAlias = "list[tuple[int, int, array.array[int]]]"
"""Ancillary data, as sendmsg takes it: the descriptors that go with a line."""

RECEIVE_BYTES: Final = 65_536
_MOST_FDS: Final = 253  # in one message (SCM_MAX_FD)
_MOST_FDS_SENT: Final = 16  # that the daemon takes with one message
_ALIGNMENT: Final = mmap.PAGESIZE  # of arrays that share a descriptor
ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_MOST_FDS * struct.calcsize("i"))
# RKLLM_RUN_NORMAL and RKLLM_RUN_WAITING: more will follow.
_UNFINISHED: Final = (0, 1)
_PARSE_ERROR: Final = -32700
# The notifications that server.watch asks for.
_EVENT: Final = "server.event"


def is_partial(message: JsonObject) -> bool:
    """Return whether a message is a partial result, after which more follow for the same id."""
    result = message.get("result")
    return isinstance(result, dict) and result.get("_callback_state") in _UNFINISHED


class Request:
    """A request's line, and the descriptors that go with it."""

    def __init__(
        self, call_id: int | None, method: str, params: Params, members: Mapping[str, object], fds: Sequence[int] = ()
    ) -> None:
        self.fds = [*fds]
        self._own: list[int] = []
        # The arrays that share the last descriptor, as one message brings only so many: each with its offset there.
        self._packed: list[tuple[int, memoryview]] = []
        self._packed_bytes = 0
        request: JsonObject = {"jsonrpc": "2.0", "method": method}
        request |= {name: value for name, value in members.items() if value is not None}
        if call_id is not None:
            request["id"] = call_id
        if params is not None:
            request["params"] = params
        try:
            line = _encoded(request, self._write)
            self._attach_packed()
            if len(self.fds) > _MOST_FDS_SENT:
                raise ValueError(f"{len(self.fds)} descriptors are more than a message brings, {_MOST_FDS_SENT}")
        except BaseException:
            self.close()
            raise
        # Only now it is known how many tensors there are.
        self.line = line[:-1] + (b',"fds":%d}\n' % len(self.fds) if self.fds else b"}\n")

    def _write(self, value: object) -> Json:
        """Return what JSON has instead of ``value``."""
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._attach(memoryview(value))
        if isinstance(value, os.PathLike):
            return os.fsdecode(value)
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, Tensor):
            view = _view(value.data)
        elif not isinstance(value, Array):
            what = type(value).__name__
            raise TypeError(f"{what} is no JSON, no path and no tensor: give bytes, a Tensor or a numpy array")
        elif value.shape == ():
            number = value.item()
            if not isinstance(number, float) or math.isfinite(number):
                return number
            view = memoryview(value.tobytes())  # JSON has no such number
        else:
            view = _view(value)
        if not view.c_contiguous:  # a slice, a transposed or a flipped array
            view = memoryview(view.tobytes())
        return {**self._attach(view), "dtype": str(value.dtype), "shape": list(value.shape)}

    def _attach(self, data: memoryview) -> JsonObject:
        content = data.cast("B") if data.nbytes else memoryview(b"")  # what has a dimension of 0 can't be cast
        if len(self.fds) < _MOST_FDS_SENT - 1:
            self._attach_file(shared_memory.make(content))
            return {"fd": len(self.fds) - 1}
        offset = self._packed_bytes
        self._packed.append((offset, content))
        self._packed_bytes += -(-data.nbytes // _ALIGNMENT) * _ALIGNMENT
        return {"fd": len(self.fds), "offset": offset, "size": data.nbytes}

    def _attach_packed(self) -> None:
        if self._packed:
            self._attach_file(shared_memory.make_of(self._packed))
            self._packed.clear()

    def _attach_file(self, fd: int) -> None:
        self._own.append(fd)
        self.fds.append(fd)

    @property
    def rights(self) -> Rights:
        """Return what sendmsg takes."""
        return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", self.fds))] if self.fds else []

    def close(self) -> None:
        """Close the descriptors of the tensors; the kernel has its own once they are sent."""
        for fd in self._own:
            os.close(fd)
        self._own.clear()


class Reader:
    """Cuts what arrives into messages, and remembers what the daemon said last before it closes the connection."""

    def __init__(self) -> None:
        self._lines = LineBuffer(sys.maxsize)
        self._fds: deque[int] = deque()
        self._farewell: JsonObject | None = None
        self._was_heard = False

    @property
    def is_in_line(self) -> bool:
        """Return whether the end of a message has not come yet."""
        return len(self._lines) > 0

    def feed(self, data: bytes, ancillary: Sequence[tuple[int, int, bytes]] = ()) -> list[JsonObject]:
        """Return the messages that ``data`` completes: answers to requests, and events (but no rkllm.token)."""
        for _, _, rights in ancillary:
            self._fds.extend(fd for (fd,) in struct.iter_unpack("i", rights))
        messages = []
        for line in self._lines.feed(data):
            message = orjson.loads(memoryview(line))
            if "error" in message and message.get("id") is None:
                # Of the connection itself: no request of ours has the id null. But half a line, of a call that was left
                # while it was sent, is no more than a line that can't be read.
                self._farewell = message["error"] if message["error"]["code"] != _PARSE_ERROR else self._farewell
                continue
            self._farewell = None
            self._was_heard = True
            if message.get("fds"):
                fds = [self._fds.popleft() for _ in range(message["fds"])]
                message["result"] = _with_tensors(message["result"], fds)
                for fd in fds:
                    os.close(fd)
            if message.get("id") is not None or message.get("method") == _EVENT:
                messages.append(message)
        return messages

    def lost(self, *, was_sent: bool) -> Lost:
        """Return what is known of a call that is not answered any more."""
        return Lost(was_sent=was_sent, farewell=self._farewell, was_heard=self._was_heard)

    def close(self) -> None:
        """Close what came and was never asked for."""
        while self._fds:
            os.close(self._fds.popleft())


def _encoded(request: JsonObject, write: Callable[[object], Json]) -> bytes:
    """Return a request as JSON, in which ``write`` replaces what JSON does not have. Raises as that, or TypeError."""
    try:
        return orjson.dumps(request, default=write, option=orjson.OPT_PASSTHROUGH_DATACLASS)
    except TypeError as error:  # says no more than a type's name, where write says what to give
        raise error.__cause__ or error from None


def _with_tensors(value: Json, fds: Sequence[int]) -> Json:
    """Return a result with the bytes of its tensors mapped as "data" instead of their descriptors' numbers."""
    if isinstance(value, list):
        return [_with_tensors(item, fds) for item in value]
    if not isinstance(value, dict):
        return value
    if type(value.get("fd")) is int and "size" in value:
        fd, offset = fds[value["fd"]], value.get("offset", 0)
        rest = {name: item for name, item in value.items() if name not in ("fd", "offset")}
        return {**rest, "data": _map(fd, offset, value["size"])}
    if isinstance(value.get("data"), str) and "dtype" in value:  # more tensors than descriptors go with a message
        return {**value, "data": memoryview(base64.b64decode(value["data"]))}
    return {name: _with_tensors(item, fds) for name, item in value.items()}


def _view(data: ReadableBuffer | Array) -> memoryview:
    """Return the bytes of a tensor or an array, in place where that is possible."""
    try:
        return memoryview(cast("ReadableBuffer", data))
    except ValueError:  # numpy shows no elements that C does not have, such as bfloat16
        if not isinstance(data, Array):
            raise
        return memoryview(data.tobytes())


def _map(fd: int, offset: int, size: int) -> memoryview:
    """Return what the daemon shares: a result can only be read, a tensor memory be written to as well."""
    if not size:
        return memoryview(b"")  # nothing can't be mapped
    try:
        mapped = mmap.mmap(fd, offset + size, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except OSError:
        mapped = mmap.mmap(fd, offset + size, prot=mmap.PROT_READ)
    return memoryview(mapped)[offset:]


def result_of(message: JsonObject) -> Json:
    """Return the result that a message brings. Raises CallError if it is an Error."""
    if "error" in message:
        raise CallError(message["error"])
    return message["result"]

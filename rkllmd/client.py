"""The Python client: ``Client`` for plain programs, ``open_client`` for trio.

Both hold one connection, over which any number of requests may run; needs nothing but orjson (and trio for the second).

    with Client() as rkllm:
        print(rkllm.call("rkllm.run", {"prompt": "Hello"})["text"])
        for partial in rkllm.stream("rkllm.run_async", {"prompt": "Hello"}):
            print(partial["text"], end="")

Tensors go by file descriptor, so that their bytes are never written as text: give a ``Tensor``, or an array of numpy,
anywhere in the parameters, and with ``reply_fds=True`` take ``memoryview`` as the "data" of those in the result.

        result = rkllm.call("rknn.infer", {"inputs": image}, reply_fds=True)
"""

from __future__ import annotations

import array
import itertools
import mmap
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from rkllmd import shared_memory
from rkllmd.jsonrpc import LineBuffer

if TYPE_CHECKING:
    import trio

DEFAULT_SOCKET: Final = "/tmp/rkllm.sock"
_RECEIVE_BYTES: Final = 65_536
_MOST_FDS: Final = 253  # in one message (SCM_MAX_FD)
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_MOST_FDS * struct.calcsize("i"))
# RKLLM_RUN_NORMAL and RKLLM_RUN_WAITING: more will follow.
_UNFINISHED: Final = (0, 1)


# The notifications that server.watch asks for.
_EVENT: Final = "server.event"
# Of a program that has asked for them and reads none, the newest are kept.
_MOST_EVENTS: Final = 10_000


def default_socket() -> str:
    """Return the socket that RKLLM_UDS_PATH names, or the default."""
    return os.environ.get("RKLLM_UDS_PATH") or DEFAULT_SOCKET


def why_no_connection(error: OSError | ValueError, choose: str = "in RKLLM_UDS_PATH") -> str:
    """Return what a person can do about an error of connecting, as a sentence; ``choose``: where another is named."""
    path = getattr(error, "filename", None) or default_socket()
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"No daemon serves {path}: start one with 'rkllmd serve', or name its socket {choose}."
    if isinstance(error, PermissionError):
        return f"You may not connect to {path}: ask to be made a member of the group that owns it (ls -l {path})."
    # Too long, a NUL inside, below a file: no path of a socket.
    return f"{path!r} can't be connected to ({getattr(error, 'strerror', None) or error}): name the socket {choose}."


class CallError(Exception):
    """The daemon answered with an Error. Programs match ``kind``, people read the message."""

    def __init__(self, error: dict[str, Any]) -> None:
        self.code: int = error["code"]
        self.data: dict[str, Any] = error.get("data") or {}
        self.kind: str = self.data.get("kind", "")
        detail = self.data.get("detail")
        super().__init__(f"{error['message']}: {detail}" if detail else error["message"])


class ConnectionLost(Exception):
    """The daemon closed the connection before it had answered."""

    def __init__(self) -> None:
        super().__init__("The daemon closed the connection.")


def is_partial(message: dict[str, Any]) -> bool:
    """Tell whether a message is a partial result, after which more follow for the same id."""
    result = message.get("result")
    return isinstance(result, dict) and result.get("_callback_state") in _UNFINISHED


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """Bytes for the daemon, which travel by file descriptor; ``dtype`` and ``shape`` as in the protocol, section 5."""

    data: Any
    dtype: str
    shape: Sequence[int]


class _Request:
    """A request's line, and the descriptors that go with it."""

    def __init__(
        self, call_id: int | None, method: str, params: Any, members: dict[str, Any], fds: Sequence[int] = ()
    ) -> None:
        self.fds = [*fds]
        self._own: list[int] = []
        request: dict[str, Any] = {"jsonrpc": "2.0", "method": method, **members}
        if call_id is not None:
            request["id"] = call_id
        if params is not None:
            request["params"] = params
        try:
            line = orjson.dumps(request, default=self._write, option=orjson.OPT_PASSTHROUGH_DATACLASS)
        except BaseException:
            self.close()
            raise
        # Only now it is known how many tensors there are.
        self.line = line[:-1] + (b',"fds":%d}\n' % len(self.fds) if self.fds else b"}\n")

    def _write(self, value: Any) -> Any:
        """Return what JSON has instead of ``value``."""
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._attach(memoryview(value))
        # An array of numpy, or of anything that is like one; numpy itself is not needed here.
        if not hasattr(value, "dtype") or not hasattr(value, "shape"):
            raise TypeError(f"{type(value).__name__} is no JSON and no tensor: give bytes, a Tensor or a numpy array")
        if not isinstance(value, Tensor) and value.shape == ():
            return value.item()
        view = memoryview(value.data if isinstance(value, Tensor) else value)
        if not view.c_contiguous:  # a slice, a transposed or a flipped array
            view = memoryview(view.tobytes())
        return {**self._attach(view), "dtype": str(value.dtype), "shape": list(value.shape)}

    def _attach(self, data: memoryview) -> dict[str, Any]:
        fd = shared_memory.make(data.cast("B"))
        self._own.append(fd)
        self.fds.append(fd)
        return {"fd": len(self.fds) - 1}

    @property
    def rights(self) -> list[tuple[int, int, Any]]:
        """Return what sendmsg takes."""
        return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", self.fds))] if self.fds else []

    def close(self) -> None:
        """Close the descriptors of the tensors; the kernel has its own once they are sent."""
        for fd in self._own:
            os.close(fd)
        self._own.clear()


class _Reader:
    """Cuts what arrives into messages, and remembers what the daemon said last before it closes the connection."""

    def __init__(self) -> None:
        self._lines = LineBuffer(sys.maxsize)
        self._fds: deque[int] = deque()
        self._farewell: dict[str, Any] | None = None

    def feed(self, data: bytes, ancillary: Sequence[tuple[int, int, bytes]] = ()) -> list[dict[str, Any]]:
        """Return the messages that ``data`` completes: answers to requests, and events (but no rkllm.token)."""
        for _, _, rights in ancillary:
            self._fds.extend(fd for (fd,) in struct.iter_unpack("i", rights))
        messages = []
        for line in self._lines.feed(data):
            message = orjson.loads(memoryview(line))
            if message.get("fds"):
                fds = [self._fds.popleft() for _ in range(message["fds"])]
                message["result"] = _with_tensors(message["result"], fds)
                for fd in fds:
                    os.close(fd)
            if message.get("id") is not None or message.get("method") == _EVENT:
                messages.append(message)
            elif "error" in message:  # of the connection itself: no request of ours has the id null
                self._farewell = message["error"]
        return messages

    def lost(self) -> CallError | ConnectionLost:
        """Return the error for calls that are not answered any more: the daemon's reason if it gave one."""
        return CallError(self._farewell) if self._farewell else ConnectionLost()

    def close(self) -> None:
        """Close what came and was never asked for."""
        while self._fds:
            os.close(self._fds.popleft())


def _with_tensors(value: Any, fds: Sequence[int]) -> Any:
    """Return a result with the bytes of its tensors mapped as "data" instead of their descriptors' numbers."""
    if isinstance(value, list):
        return [_with_tensors(item, fds) for item in value]
    if not isinstance(value, dict):
        return value
    if type(value.get("fd")) is int and "size" in value:
        fd, offset = fds[value["fd"]], value.get("offset", 0)
        rest = {name: item for name, item in value.items() if name not in ("fd", "offset")}
        return {**rest, "data": _map(fd, offset, value["size"])}
    return {name: _with_tensors(item, fds) for name, item in value.items()}


def _map(fd: int, offset: int, size: int) -> memoryview:
    """Return what the daemon shares: a result can only be read, a tensor memory be written to as well."""
    try:
        mapped = mmap.mmap(fd, offset + size, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except OSError:
        mapped = mmap.mmap(fd, offset + size, prot=mmap.PROT_READ)
    return memoryview(mapped)[offset:]


def _result(message: dict[str, Any]) -> Any:
    if "error" in message:
        raise CallError(message["error"])
    return message["result"]


def _with_path(error: OSError, path: str) -> OSError:
    """Return the error with the path that could not be connected to, which the system's own words lack."""
    if error.errno is not None:
        return type(error)(error.errno, error.strerror, path)
    error.filename = path  # of a path that is too long
    return error


class Client:
    """A blocking client; not for use from several threads at once."""

    def __init__(self, path: str | None = None) -> None:
        """Connect to the socket at ``path``. Raises OSError."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = path or default_socket()
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise _with_path(error, path) from None
        self._reader = _Reader()
        self._ids = itertools.count(1)
        self._received: dict[int, deque[dict[str, Any]]] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=_MOST_EVENTS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; what is still running for this client is aborted."""
        self._socket.close()
        self._reader.close()

    def send(self, method: str, params: Any = None, *, fds: Sequence[int] = (), **members: Any) -> int:
        """Send a request and return its id; ``members`` stand beside "method", such as ``stream="final"``.

        ``fds`` are descriptors for the parameters' ``{"fd": n}``, such as dma-bufs; they stay the caller's. Raises
        ConnectionLost, or CallError where the daemon said why it closed the connection.
        """
        call_id = next(self._ids)
        request = _Request(call_id, method, params, members, fds)
        try:
            sent = self._socket.sendmsg([request.line], request.rights)
            self._socket.sendall(request.line[sent:])
        except (BrokenPipeError, ConnectionResetError):
            while True:  # what the daemon sent before it closed can still be read; the end of it raises
                self._read()
        finally:
            request.close()
        return call_id

    def receive(self, call_id: int) -> dict[str, Any]:
        """Return the next message for this id, partial or final; messages for others are kept for them.

        Raises as ``send``.
        """
        while call_id not in self._received:
            self._read()
        messages = self._received[call_id]
        message = messages.popleft()
        if not messages:
            del self._received[call_id]
        return message

    def _read(self) -> None:
        data = b""
        ancillary: list[tuple[int, int, bytes]] = []
        with suppress(ConnectionResetError):  # it closed before it had read all that we sent
            # May be interrupted by Ctrl-C: nothing has been taken out then.
            data, ancillary, _, _ = self._socket.recvmsg(_RECEIVE_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
        if not data:
            raise self._reader.lost()
        for message in self._reader.feed(data, ancillary):
            if "method" in message:
                self._events.append(message["params"])
                continue
            self._received.setdefault(message["id"], deque()).append(message)

    def call(self, method: str, params: Any = None, *, fds: Sequence[int] = (), **members: Any) -> Any:
        """Call a method and return its final result. Raises CallError, ConnectionLost."""
        call_id = self.send(method, params, fds=fds, **members)
        while is_partial(message := self.receive(call_id)):
            pass
        return _result(message)

    def stream(self, method: str, params: Any = None, **members: Any) -> Iterator[dict[str, Any]]:
        """Call a method and yield its partial results and then its final one. Raises CallError, ConnectionLost."""
        yield from self.results(self.send(method, params, **members))

    def results(self, call_id: int) -> Iterator[dict[str, Any]]:
        """Yield the partial results and then the final one of a request sent before."""
        while True:
            message = self.receive(call_id)
            yield _result(message)
            if not is_partial(message):
                return

    def watch(self, *events: str) -> Iterator[dict[str, Any]]:
        """Yield what happens from now on: "queue", "load" and "job" events (protocol, section 7).

        Until the iterator is closed; other calls may be made meanwhile. Raises CallError, ConnectionLost.
        """
        self._events.clear()
        self.call("server.watch", {"events": list(events)})
        return self.events()

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the events that server.watch was called for."""
        try:
            while True:
                while not self._events:
                    self._read()
                yield self._events.popleft()
        finally:
            with suppress(OSError):
                self._socket.sendall(_Request(None, "server.watch", {"events": []}, {}).line)


class TrioClient:
    """A trio client; any number of tasks may call at once."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._ids = itertools.count(1)
        self._waiting: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}
        self._events: trio.MemorySendChannel[dict[str, Any]] | None = None
        self._sending = _trio().Lock()
        self._reader = _Reader()
        self._lost = False
        self._is_torn = False

    async def call(self, method: str, params: Any = None, *, fds: Sequence[int] = (), **members: Any) -> Any:
        """Call a method and return its final result. Raises CallError, ConnectionLost."""
        results = [result async for result in self.stream(method, params, fds=fds, **members)]
        return results[-1]

    async def stream(
        self, method: str, params: Any = None, *, fds: Sequence[int] = (), **members: Any
    ) -> AsyncGenerator[Any, None]:
        """Call a method and yield its partial results and then its final one.

        Leaving early, also by cancellation, cancels the call in the daemon; ``async with aclosing(client.stream(…))``
        makes sure that this happens at once and not when the generator is collected. Raises CallError, ConnectionLost.
        """
        trio = _trio()
        if self._lost:
            raise self._reader.lost()
        call_id = next(self._ids)
        send, receive = trio.open_memory_channel[dict[str, Any]](float("inf"))
        self._waiting[call_id] = send
        finished = False
        try:
            with suppress(ConnectionLost):  # what the daemon said before it closed is still to be read
                await self._send(_Request(call_id, method, params, members, fds))
            async for message in receive:
                finished = not is_partial(message)
                yield _result(message)
                if finished:
                    return
            raise self._reader.lost()
        finally:
            del self._waiting[call_id]
            if not finished and not self._lost:
                with suppress(ConnectionLost), trio.move_on_after(1, shield=True):
                    await self.notify("$/cancelRequest", {"id": call_id})

    async def watch(self, *events: str) -> AsyncGenerator[dict[str, Any], None]:
        """Yield what happens from now on: "queue", "load" and "job" events (protocol, section 7), until closed.

        One at a time. Raises CallError, ConnectionLost.
        """
        trio = _trio()
        send, receive = trio.open_memory_channel[dict[str, Any]](float("inf"))
        self._events = send
        try:
            await self.call("server.watch", {"events": list(events)})
            async for event in receive:
                yield event
            raise self._reader.lost()
        finally:
            if self._events is send:  # else another watch has taken its place
                self._events = None
                if not self._lost:
                    with suppress(ConnectionLost), trio.move_on_after(1, shield=True):
                        await self.notify("server.watch", {"events": []})

    async def notify(self, method: str, params: Any = None) -> None:
        """Send a notification: it is never answered."""
        await self._send(_Request(None, method, params, {}))

    async def _send(self, request: _Request) -> None:
        trio = _trio()
        try:
            async with self._sending:
                # A cancelled call may have left half a line, which must not swallow this one.
                data = b"\n" + request.line if self._is_torn else request.line
                self._is_torn = True
                try:
                    sent = await self._stream.socket.sendmsg([data], request.rights) if request.fds else 0
                    await self._stream.send_all(data[sent:])
                except (trio.BrokenResourceError, OSError):
                    raise ConnectionLost from None
                self._is_torn = False
        finally:
            request.close()

    async def _receive(self) -> None:
        with suppress(OSError):
            while True:
                data, ancillary, _, _ = await self._stream.socket.recvmsg(
                    _RECEIVE_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
                )
                if not data:
                    break
                for message in self._reader.feed(data, ancillary):
                    if "method" in message:
                        if self._events is not None:
                            self._events.send_nowait(message["params"])
                        continue
                    channel = self._waiting.get(message["id"])
                    if channel is not None:
                        channel.send_nowait(message)
        self._lost = True
        self._reader.close()
        for channel in [*self._waiting.values(), *([self._events] if self._events is not None else [])]:
            channel.close()


def _trio() -> Any:
    import trio  # imported late: the plain client does not need it, and it takes a tenth of a second

    return trio


@asynccontextmanager
async def open_client(path: str | None = None) -> AsyncIterator[TrioClient]:
    """Connect to the daemon for the length of the context. Raises OSError."""
    trio = _trio()
    failure: Exception | None = None
    path = path or default_socket()
    try:
        connected = await trio.open_unix_socket(path)
    except OSError as error:
        raise _with_path(error, path) from None
    async with connected as stream, trio.open_nursery() as nursery:
        client = TrioClient(stream)
        nursery.start_soon(client._receive)
        try:
            yield client
        except Exception as error:  # the nursery would wrap a CallError in an ExceptionGroup
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure

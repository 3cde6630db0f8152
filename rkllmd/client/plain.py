"""The blocking client.

Several threads may share one: whoever waits for a message first reads the socket, and gives the others what is theirs.
No thread waits for another one's answer, only for its line to be written.
"""

from __future__ import annotations

import itertools
import math
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from os import PathLike
from typing import Any, Final, Self, TypeVar

from rkllmd.client import messages
from rkllmd.client.errors import CallTimeout, ClientError, ConnectionLost, connect_error, usable_path
from rkllmd.client.messages import Reader, Request, check_keywords, is_partial, result_of, whole

# Of a program that has asked for events and reads none, the newest are kept.
_MOST_EVENTS: Final = 10_000
# A daemon that does not read must not hold who leaves.
_CANCEL_SECONDS: Final = 1.0
# How long one thread that sends leaves the reading to another one before it looks whether that still reads.
_LOOK_AGAIN_SECONDS: Final = 0.1

_Found = TypeVar("_Found")


class _LateError(Exception):
    """The time that the caller has given is over."""


class Client:
    """A blocking client, for any number of threads."""

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        """Connect to the socket at ``path``. Raises ConnectError, which is an OSError."""
        path = usable_path(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise connect_error(error, path) from None
        self._reader = Reader()
        self._ids = itertools.count(1)
        # Guards what follows it. Never held while anything is waited for, so that a generator's end may take it, which
        # comes whenever the garbage collector does.
        self._state = threading.Condition()
        self._received: dict[int, deque[dict[str, Any]]] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=_MOST_EVENTS)
        # Calls that nobody waits for any more, and which the daemon has not answered yet.
        self._left: set[int] = set()
        self._reading_thread: int | None = None
        self._is_closed = False
        # Held while a line is written.
        self._sending = threading.Lock()
        self._is_torn = False
        self._to_cancel: deque[int] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect: what still runs for this client is aborted, other threads' calls raise ConnectionLost."""
        with self._state:
            if self._is_closed:
                return
            self._is_closed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes who waits; a closed descriptor would not
        with self._state:
            while self._is_read_elsewhere():
                self._state.wait()
        is_free = self._sending.acquire(timeout=_CANCEL_SECONDS)  # not, if a signal came while this thread was sending
        self._socket.close()
        self._reader.close()
        if is_free:
            self._sending.release()

    def send(self, method: str, params: Any = None, *, fds: Sequence[int] = (), **members: Any) -> int:
        """Send a request and return its id; ``members`` stand beside "method", such as ``stream="final"``.

        ``fds`` are descriptors for the parameters' ``{"fd": n}``, such as dma-bufs; they stay the caller's. Raises
        ConnectionLost, or CallError where the daemon said why it closed the connection.
        """
        check_keywords(members)
        call_id = next(self._ids)
        self._transmit(Request(call_id, method, params, members, fds), math.inf)
        return call_id

    def receive(self, call_id: int) -> dict[str, Any]:
        """Return the next message for this id, partial or final; messages for others are kept for them.

        Raises as ``send``.
        """
        return self._wait(lambda: self._next(call_id), math.inf)

    def call(
        self, method: str, params: Any = None, *, fds: Sequence[int] = (), timeout: float | None = None, **members: Any
    ) -> Any:
        """Call a method and return its final result. Raises CallError, ConnectionLost, CallTimeout.

        ``timeout``: seconds that the whole call may take, its wait for a turn included. Where this is left by an
        exception (Ctrl-C), the call is cancelled in the daemon.
        """
        final = None
        for final in self.stream(method, params, fds=fds, timeout=timeout, **whole(method, params, members)):  # noqa: B007  # the last is it
            pass
        return final

    def stream(
        self, method: str, params: Any = None, *, fds: Sequence[int] = (), timeout: float | None = None, **members: Any
    ) -> Generator[Any, None, None]:
        """Call a method and yield its partial results and then its final one. Raises as ``call``.

        Leaving early, by ``break``, an exception or ``close()`` of the generator, cancels the call in the daemon.
        """
        check_keywords(members, timeout)
        return self._run(method, params, fds, timeout, members)

    def _run(
        self, method: str, params: Any, fds: Sequence[int], timeout: float | None, members: Mapping[str, Any]
    ) -> Generator[Any, None, None]:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        call_id = next(self._ids)
        request = Request(call_id, method, params, members, fds)
        ended = False
        try:
            self._transmit(request, deadline)
            while not ended:
                message = self._wait(lambda: self._next(call_id), deadline)
                ended = not is_partial(message)
                yield result_of(message)
        except _LateError:
            raise CallTimeout(method, timeout or 0) from None
        finally:
            if not ended:
                self._leave(call_id)

    def results(self, call_id: int) -> Iterator[dict[str, Any]]:
        """Yield the partial results and then the final one of a request sent before.

        Leaving early cancels nothing: what comes later is there for the next ``results`` or ``receive``.
        """
        while True:
            message = self.receive(call_id)
            yield result_of(message)
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
                yield self._wait(lambda: self._events.popleft() if self._events else None, math.inf)
        finally:
            with suppress(OSError, ClientError, _LateError):
                end = Request(None, "server.watch", {"events": []}, {})
                self._transmit(end, time.monotonic() + _CANCEL_SECONDS)

    # -- in ----------------------------------------------------------------------------------------------------------

    def _wait(self, find: Callable[[], _Found | None], deadline: float) -> _Found:
        """Return what ``find`` finds among what has come, reading until it does. Raises ConnectionLost, _LateError."""
        while True:
            with self._state:
                found = find()
                if found is not None:
                    return found
                if self._is_read_elsewhere():
                    if not self._state.wait(_seconds_until(deadline)):
                        raise _LateError
                    continue
                self._begin_reading()
            self._read(deadline)

    def _next(self, call_id: int) -> dict[str, Any] | None:
        """Take the next message for this id, if there is one."""
        waiting = self._received.get(call_id)
        if waiting is None:
            return None
        message = waiting.popleft()
        if not waiting:
            del self._received[call_id]
        return message

    def _is_read_elsewhere(self) -> bool:
        return self._reading_thread not in (None, threading.get_ident())

    def _begin_reading(self) -> None:
        if self._is_closed:
            raise _closed()
        self._reading_thread = threading.get_ident()

    def _read(self, deadline: float) -> None:
        """Read once; this thread has said that it does."""
        try:
            if deadline < math.inf and not self._is_ready(select.POLLIN, _seconds_until(deadline)):
                raise _LateError
            data = b""
            ancillary: list[tuple[int, int, bytes]] = []
            with suppress(ConnectionResetError):  # it closed before it had read all that we sent
                # May be interrupted by Ctrl-C: nothing has been taken out then.
                data, ancillary, _, _ = self._socket.recvmsg(
                    messages.RECEIVE_BYTES, messages.ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
                )
            if not data:
                raise _closed() if self._is_closed else self._reader.lost()
            with self._state:
                self._take(self._reader.feed(data, ancillary))
        finally:
            with self._state:
                self._reading_thread = None
                self._state.notify_all()

    def _take(self, arrived: Sequence[dict[str, Any]]) -> None:
        for message in arrived:
            if "method" in message:
                self._events.append(message["params"])
            elif message["id"] not in self._left:
                self._received.setdefault(message["id"], deque()).append(message)
            elif not is_partial(message):
                self._left.discard(message["id"])

    def _is_ready(self, events: int, seconds: float | None) -> int:
        """Wait until the socket is ready for one of the events; return for which, 0 when the time is over."""
        poll = select.poll()
        poll.register(self._socket, events)
        found = poll.poll(None if seconds is None else seconds * 1000)
        return found[0][1] if found else 0

    # -- out ---------------------------------------------------------------------------------------------------------

    def _transmit(self, request: Request, deadline: float) -> None:
        """Send a request. Raises ConnectionLost, CallError, _LateError."""
        try:
            if not self._sending.acquire(timeout=_seconds_until(deadline) or -1):
                raise _LateError
            try:
                self._write(request.line, request.rights, deadline)
            finally:
                self._sending.release()
        except (BrokenPipeError, ConnectionResetError):
            # What the daemon sent before it closed can still be read; the end of it raises.
            self._wait(lambda: None, math.inf)
        finally:
            request.close()
        self._send_cancels()

    def _write(self, line: bytes, rights: list[tuple[int, int, Any]], deadline: float) -> None:
        """Write a line, with ``_sending`` held; whoever waits for the daemon to read it reads what the daemon sends."""
        if self._is_closed:
            raise _closed()
        # A call that was left while it was sent may have left half a line, which must not swallow this one.
        rest = memoryview(b"\n" + line if self._is_torn else line)
        self._is_torn = True
        while rest:
            try:
                sent = self._socket.sendmsg([rest], rights, socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._wait_for_room(deadline)
            else:
                rest, rights = rest[sent:], []
        self._is_torn = False

    def _wait_for_room(self, deadline: float) -> None:
        """Wait until more can be written; read meanwhile: a daemon whose answers nobody reads does not read."""
        with self._state:
            reads = not self._is_read_elsewhere()
        left = _seconds_until(min(deadline, math.inf if reads else time.monotonic() + _LOOK_AGAIN_SECONDS))
        ready = self._is_ready(select.POLLOUT | (select.POLLIN if reads else 0), left)
        if not ready and time.monotonic() >= deadline:
            raise _LateError
        if ready & select.POLLIN and not ready & select.POLLOUT:
            with self._state:
                if self._is_read_elsewhere():
                    return
                self._begin_reading()
            self._read(deadline)

    def _leave(self, call_id: int) -> None:
        """Cancel a call that nobody waits for any more; called when a generator ends, in whatever thread that is."""
        with self._state:
            if not all(is_partial(message) for message in self._received.pop(call_id, ())) or self._is_closed:
                return
            self._left.add(call_id)
        self._to_cancel.append(call_id)
        self._send_cancels()

    def _send_cancels(self) -> None:
        """Send the cancellations that wait, unless somebody is sending: that thread does it after its line."""
        while self._to_cancel and self._sending.acquire(blocking=False):
            try:
                with suppress(OSError, ClientError, _LateError, IndexError):
                    line = Request(None, "$/cancelRequest", {"id": self._to_cancel.popleft()}, {}).line
                    self._write(line, [], time.monotonic() + _CANCEL_SECONDS)
            finally:
                self._sending.release()


def _seconds_until(deadline: float) -> float | None:
    """Return how long there still is, None for ever; what is over is the least that is something."""
    return None if deadline == math.inf else max(1e-3, deadline - time.monotonic())


def _closed() -> ConnectionLost:
    return ConnectionLost("This client was closed: make another one.")

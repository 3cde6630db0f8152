"""One connection of the blocking client, shared by its threads until it ends.

Whoever waits for a message first reads the socket, and gives the others what is theirs. No thread waits for another
one's answer, only for its line to be written.
"""

from __future__ import annotations

import math
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from rkllmd.client import messages
from rkllmd.client.errors import ClientError, closed
from rkllmd.client.messages import Reader, Request, Rights, is_partial
from rkllmd.client.recovery import Lost
from rkllmd.json_types import JsonObject

# Of a program that has asked for events and reads none, the newest are kept.
_MOST_EVENTS: Final = 10_000
# A daemon that does not read must not hold who leaves.
_CANCEL_SECONDS: Final = 1.0
# How long one thread that sends leaves the reading to another one before it looks whether that still reads.
_LOOK_AGAIN_SECONDS: Final = 0.1

_Found = TypeVar("_Found")


class LateError(Exception):
    """The time that the caller has given is over."""


class PlainConnection:
    """A connection, and what has come over it. Everything raises Lost where the daemon has ended it."""

    def __init__(self, connected: socket.socket, first_id: int) -> None:
        """Take the socket over; ``first_id``: of the calls that are sent over it, the lowest id."""
        self.first_id = first_id
        self.is_lost = False
        self.events: deque[JsonObject] = deque(maxlen=_MOST_EVENTS)
        self._socket = connected
        self._reader = Reader()
        self._left: str | None = None
        # Guards what follows it. Never held while anything is waited for, so that a generator's end may take it, which
        # comes whenever the garbage collector does.
        self._state = threading.Condition()
        self._received: dict[int, deque[JsonObject]] = {}
        # Calls that nobody waits for any more, and which the daemon has not answered yet.
        self._abandoned: set[int] = set()
        self._reading_thread: int | None = None
        self._is_closed = False
        # Held while a line is written.
        self._sending = threading.Lock()
        self._is_torn = False
        self._to_cancel: deque[int] = deque()

    def close(self) -> None:
        """End it: threads that wait for something raise Lost where the daemon had ended it, else ConnectionLost."""
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

    @property
    def has_unread(self) -> bool:
        """Return whether messages have come that were not asked for yet."""
        return bool(self._received)

    @property
    def left(self) -> str | None:
        """Return what is left there, or was until it ended, as a person would say it; None for nothing."""
        return None if self.lost().is_unread else self._left

    def lost(self, *, was_sent: bool = True) -> Lost:
        """Return what is known of a call that is not answered any more."""
        return self._reader.lost(was_sent=was_sent)

    # -- in ----------------------------------------------------------------------------------------------------------

    def receive(self, call_id: int, deadline: float) -> JsonObject:
        """Return the next message for this id, partial or final. Raises Lost, LateError, ConnectionLost."""
        return self._wait(lambda: self._next(call_id), deadline)

    def next_event(self) -> JsonObject:
        """Return the next event. Raises Lost, ConnectionLost."""
        return self._wait(lambda: self.events.popleft() if self.events else None, math.inf)

    def _wait(self, find: Callable[[], _Found | None], deadline: float) -> _Found:
        """Return what ``find`` finds among what has come, reading until it does. Raises as ``receive``."""
        while True:
            with self._state:
                found = find()
                if found is not None:
                    return found
                reads = not self._is_read_elsewhere()
                if reads:
                    self._begin_reading()
                elif not self._state.wait(seconds_until(deadline)):
                    raise LateError
            if reads:
                self._read(deadline)

    def _next(self, call_id: int) -> JsonObject | None:
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
        self._check_open()
        self._reading_thread = threading.get_ident()

    def _check_open(self) -> None:
        if self.is_lost:
            raise self.lost()
        if self._is_closed:
            raise closed()

    def _read(self, deadline: float) -> None:
        """Read once; this thread has said that it does."""
        try:
            if deadline < math.inf and not self._is_ready(select.POLLIN, seconds_until(deadline)):
                raise LateError
            data = b""
            ancillary: list[tuple[int, int, bytes]] = []
            with suppress(ConnectionResetError):  # it closed before it had read all that we sent
                # May be interrupted by Ctrl-C: nothing has been taken out then.
                data, ancillary, _, _ = self._socket.recvmsg(
                    messages.RECEIVE_BYTES, messages.ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
                )
            with self._state:
                if not data:
                    self.is_lost = self.is_lost or not self._is_closed
                    self._check_open()
                self._take(self._reader.feed(data, ancillary))
        finally:
            with self._state:
                self._reading_thread = None
                self._state.notify_all()

    def _take(self, arrived: Sequence[JsonObject]) -> None:
        for message in arrived:
            if "method" in message:
                self.events.append(message["params"])
            elif message["id"] not in self._abandoned:
                self._received.setdefault(message["id"], deque()).append(message)
            elif not is_partial(message):
                self._abandoned.discard(message["id"])

    def _is_ready(self, events: int, seconds: float | None) -> int:
        """Wait until the socket is ready for one of the events; return for which, 0 when the time is over."""
        poll = select.poll()
        poll.register(self._socket, events)
        found = poll.poll(None if seconds is None else seconds * 1000)
        return found[0][1] if found else 0

    # -- out ---------------------------------------------------------------------------------------------------------

    def transmit(self, request: Request, deadline: float, leaves: str | None = None) -> None:
        """Send a request, which ``leaves`` something with the connection. Raises as ``receive``."""
        try:
            if not self._sending.acquire(timeout=seconds_until(deadline) or -1):
                raise LateError
            try:
                self._left = leaves or self._left
                self._write(request.line, request.rights, deadline)
            finally:
                self._sending.release()
        except (BrokenPipeError, ConnectionResetError):
            # What the daemon sent before it closed can still be read; the end of it raises.
            with suppress(Lost):
                self._wait(lambda: None, math.inf)
            raise self.lost(was_sent=False) from None
        except Lost:
            raise self.lost(was_sent=False) from None
        finally:
            request.close()
        self._send_cancels()

    def end_events(self) -> None:
        """Ask for no more events; a daemon that does not read is not waited for."""
        with suppress(OSError, ClientError, LateError, Lost):
            self.transmit(Request(None, "server.watch", {"events": []}, {}), time.monotonic() + _CANCEL_SECONDS)

    def _write(self, line: bytes, rights: Rights, deadline: float) -> None:
        """Write a line, with ``_sending`` held; whoever waits for the daemon to read it reads what the daemon sends."""
        self._check_open()
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
        left = seconds_until(min(deadline, math.inf if reads else time.monotonic() + _LOOK_AGAIN_SECONDS))
        ready = self._is_ready(select.POLLOUT | (select.POLLIN if reads else 0), left)
        if not ready and time.monotonic() >= deadline:
            raise LateError
        if ready & select.POLLIN and not ready & select.POLLOUT:
            with self._state:
                if self._is_read_elsewhere():
                    return
                self._begin_reading()
            self._read(deadline)

    def abandon(self, call_id: int) -> None:
        """Cancel a call that nobody waits for any more; called when a generator ends, in whatever thread that is."""
        with self._state:
            answered = not all(is_partial(message) for message in self._received.pop(call_id, ()))
            if answered or self._is_closed or self.is_lost:
                return
            self._abandoned.add(call_id)
        self._to_cancel.append(call_id)
        self._send_cancels()

    def _send_cancels(self) -> None:
        """Send the cancellations that wait, unless somebody is sending: that thread does it after its line."""
        while self._to_cancel and self._sending.acquire(blocking=False):
            try:
                with suppress(OSError, ClientError, LateError, Lost, IndexError):
                    line = Request(None, "$/cancelRequest", {"id": self._to_cancel.popleft()}, {}).line
                    self._write(line, [], time.monotonic() + _CANCEL_SECONDS)
            finally:
                self._sending.release()


def seconds_until(deadline: float) -> float | None:
    """Return how long there still is, None for ever; what is over is the least that is something."""
    return None if deadline == math.inf else max(1e-3, deadline - time.monotonic())

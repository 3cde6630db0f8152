"""The blocking client, for any number of threads: calls, and the connections that they go over one after another."""

from __future__ import annotations

import itertools
import math
import socket
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from os import PathLike
from typing import Final, Self, Unpack

from rkllmd.client import peer
from rkllmd.client.arguments import Params, RequestMembers, check_keywords, whole
from rkllmd.client.errors import CallTimeout, ConnectError, Crashed, closed, connect_error, is_absence, usable_path
from rkllmd.client.messages import Request, is_partial, result_of
from rkllmd.client.plain_connection import LateError, PlainConnection
from rkllmd.client.recovery import RECONNECTED, Attempts, Lost
from rkllmd.json_types import Json, JsonObject

# Of connections that have ended with answers unread, this many are kept for whoever asks for them yet.
_MOST_EARLIER: Final = 8


class Client:
    """A blocking client, for any number of threads."""

    def __init__(
        self,
        path: str | PathLike[str] | None = None,
        *,
        reconnect: bool | None = None,
        requirepeer: str | int | None = None,
    ) -> None:
        """Connect to the socket at ``path``. Raises ConnectError, which is an OSError.

        ``reconnect``: what is done when the connection ends, for calls that do not say it themselves. None: what can do
        no harm is sent over another connection (see ``rkllmd.client``); true: also what the program knows to rely on
        nothing that was made over the old one; false: nothing. ``requirepeer``: the user, by name or uid, who has to be
        the one that serves the socket; None: root, the service's user or oneself; an empty name: anybody.
        """
        self._path = usable_path(path)
        self._requirepeer = requirepeer
        self._reconnect = reconnect
        self._ids = itertools.count(1)
        self._connection = PlainConnection(_connect(self._path, requirepeer, waits=True), first_id=1)
        # Those that were replaced, as far as somebody may still ask for what came over them.
        self._earlier: list[PlainConnection] = []
        # What went with them, as a person would say it, and what the program has not shown to know.
        self._gone: str | None = None
        # Held while the connection is replaced; again, by a signal's handler.
        self._replacing = threading.RLock()
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect: what still runs for this client is aborted, other threads' calls raise ConnectionLost."""
        self._closing.set()
        with self._replacing:
            self._connection.close()

    def reconnect(self, timeout: float | None = None) -> None:
        """Connect anew where the connection has ended, in the knowledge that what was made over it is gone.

        Waits for a daemon that is started again, ``timeout`` seconds at most. Raises ConnectError, ConnectionLost.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        self._connected(Attempts("reconnect", None, {}, reconnect=True, deadline=deadline))
        self._gone = None

    # -- calls -------------------------------------------------------------------------------------------------------

    def call(
        self,
        method: str,
        params: Params = None,
        *,
        fds: Sequence[int] = (),
        timeout: float | None = None,
        reconnect: bool | None = None,
        **members: Unpack[RequestMembers],
    ) -> Json:
        """Call a method and return its final result. Raises CallError, ConnectionLost, Crashed, CallTimeout.

        ``timeout``: seconds that the whole call may take, its wait for a turn included. ``reconnect``: as the client's.
        Where this is left by an exception (Ctrl-C), the call is cancelled in the daemon.
        """
        members = whole(method, params, members)
        final = None
        for final in self.stream(method, params, fds=fds, timeout=timeout, reconnect=reconnect, **members):  # noqa: B007  # the last is it
            pass
        return final

    def stream(
        self,
        method: str,
        params: Params = None,
        *,
        fds: Sequence[int] = (),
        timeout: float | None = None,
        reconnect: bool | None = None,
        **members: Unpack[RequestMembers],
    ) -> Generator[Json, None, None]:
        """Call a method and yield its partial results and then its final one. Raises as ``call``.

        Leaving early, by ``break``, an exception or ``close()`` of the generator, cancels the call in the daemon.
        """
        check_keywords(members, timeout)
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        attempts = self._attempts(method, params, members, reconnect, deadline)
        return self._run(attempts, params, fds, timeout, members)

    def _attempts(
        self,
        method: str,
        params: Params,
        members: Mapping[str, object],
        reconnect: bool | None,
        deadline: float = math.inf,
    ) -> Attempts:
        wanted = self._reconnect if reconnect is None else reconnect
        return Attempts(method, params, members, reconnect=wanted, deadline=deadline)

    def _run(
        self,
        attempts: Attempts,
        params: Params,
        fds: Sequence[int],
        timeout: float | None,
        members: Mapping[str, object],
    ) -> Generator[Json, None, None]:
        method, deadline = attempts.method, attempts.deadline
        while True:
            connection = self._connected(attempts)
            call_id = next(self._ids)
            request = Request(call_id, method, params, members, fds)
            ended = False
            try:
                connection.transmit(request, deadline, attempts.leaves)
                while not ended:
                    message = connection.receive(call_id, deadline)
                    ended = not is_partial(message)
                    if attempts.is_refused_for_now(message):
                        raise connection.lost()
                    yield result_of(message)
                return
            except Lost as lost:
                self._recover(attempts, lost)
            except LateError:
                raise CallTimeout(method, timeout or 0) from None
            finally:
                if not ended:
                    connection.abandon(call_id)

    def send(
        self,
        method: str,
        params: Params = None,
        *,
        fds: Sequence[int] = (),
        reconnect: bool | None = None,
        **members: Unpack[RequestMembers],
    ) -> int:
        """Send a request and return its id; ``members`` stand beside "method", such as ``stream="final"``.

        ``fds`` are descriptors for the parameters' ``{"fd": n}``, such as dma-bufs; they stay the caller's. Raises
        ConnectionLost, or CallError where the daemon said why it closed the connection.
        """
        check_keywords(members)
        attempts = self._attempts(method, params, members, reconnect)
        while True:
            connection = self._connected(attempts)
            call_id = next(self._ids)
            try:
                connection.transmit(Request(call_id, method, params, members, fds), math.inf, attempts.leaves)
            except Lost as lost:
                self._recover(attempts, lost)
            else:
                return call_id

    def receive(self, call_id: int) -> JsonObject:
        """Return the next message for this id, partial or final; messages for others are kept for them.

        Raises as ``call``; a request that was sent is never sent again.
        """
        connection = next((item for item in (self._connection, *self._earlier) if item.first_id <= call_id), None)
        if connection is None:
            raise Crashed(f"request {call_id}")
        try:
            return connection.receive(call_id, math.inf)
        except Lost as lost:
            raise lost.error(f"request {call_id}") from None

    def results(self, call_id: int) -> Iterator[Json]:
        """Yield the partial results and then the final one of a request sent before.

        Leaving early cancels nothing: what comes later is there for the next ``results`` or ``receive``.
        """
        while True:
            message = self.receive(call_id)
            yield result_of(message)
            if not is_partial(message):
                return

    # -- events ------------------------------------------------------------------------------------------------------

    def watch(self, *events: str, reconnect: bool | None = None) -> Iterator[JsonObject]:
        """Yield what happens from now on: "queue", "load" and "job" events (protocol, section 7).

        Until the iterator is closed; other calls may be made meanwhile. Where the daemon was replaced, it goes on with
        the new one unless ``reconnect`` is false; ``{"event": "reconnected"}`` stands where something may be missing.
        Raises CallError, ConnectionLost.
        """
        return self._events(self._subscribe(events, reconnect), events, reconnect)

    def events(self, *events: str) -> Iterator[JsonObject]:
        """Yield the events that server.watch was called for; where ``events`` says which, it goes on as ``watch`` does.

        Otherwise until the connection ends.
        """
        return self._events(self._connection, events or None, None)

    def _subscribe(self, events: Sequence[str], reconnect: bool | None) -> PlainConnection:
        """Ask for events; return the connection over which they come."""
        params = {"events": list(events)}
        attempts = self._attempts("server.watch", params, {}, reconnect)
        while True:
            connection = self._connected(attempts)
            connection.events.clear()
            call_id = next(self._ids)
            try:
                connection.transmit(Request(call_id, attempts.method, params, {}), math.inf)
                message = connection.receive(call_id, math.inf)
            except Lost as lost:
                self._recover(attempts, lost)
                continue
            if attempts.is_refused_for_now(message):
                self._recover(attempts, connection.lost())
                continue
            result_of(message)
            return connection

    def _events(
        self, connection: PlainConnection, events: Sequence[str] | None, reconnect: bool | None
    ) -> Generator[JsonObject, None, None]:
        """Yield events; where it is known which, also over the next connection."""
        may_go_on = (self._reconnect if reconnect is None else reconnect) is not False
        try:
            while True:
                try:
                    yield connection.next_event()
                except Lost as lost:
                    if events is None or not may_go_on:
                        raise lost.error("server.watch") from None
                    connection = self._subscribe(events, reconnect)
                    yield dict(RECONNECTED)
        finally:
            connection.end_events()

    # -- connections -------------------------------------------------------------------------------------------------

    def _connected(self, attempts: Attempts) -> PlainConnection:
        """Return the connection for a call, a new one where the last one has ended. Raises ClientError."""
        while True:
            connection = self._connection
            refusal = attempts.refusal(self._gone)
            if refusal is not None:
                raise refusal
            if not connection.is_lost:
                return connection
            with self._replacing:
                connection = self._connection
                if not connection.is_lost:
                    continue
                if self._closing.is_set():
                    raise closed()
                self._gone = connection.left or self._gone
                if not attempts.may_reconnect:
                    raise connection.lost(was_sent=False).error(attempts.method)
                if attempts.refusal(self._gone) is not None:
                    continue
                try:
                    self._replace(connection)
                    continue
                except ConnectError as error:
                    failure = error
            seconds = attempts.pause(time.monotonic()) if is_absence(failure) else None
            if seconds is None:
                raise failure
            self._closing.wait(seconds)

    def _replace(self, old: PlainConnection) -> None:
        """Make a new connection in the place of one that has ended. Raises ConnectError."""
        connected = _connect(self._path, self._requirepeer, waits=False)
        self._connection = PlainConnection(connected, first_id=next(self._ids))
        old.close()
        self._earlier = [item for item in (old, *self._earlier) if item.has_unread][:_MOST_EARLIER]

    def _recover(self, attempts: Attempts, lost: Lost) -> None:
        """Wait until a call may be sent again. Raises what its caller is told where it may not."""
        error = attempts.failure(lost)
        if error is not None:
            raise error from None
        seconds = attempts.pause(time.monotonic(), lost)
        if seconds is None:
            raise lost.error(attempts.method) from None
        self._closing.wait(seconds)


def _connect(path: str, requirepeer: str | int | None, *, waits: bool) -> socket.socket:
    """Return a socket that is connected to whom it should be. Raises ConnectError.

    ``waits``: also for those to be accepted who have come before, where they are too many.
    """
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.setblocking(waits)
        connected.connect(path)
        connected.setblocking(True)
        peer.check(connected, path, requirepeer)
    except BaseException as error:
        with suppress(OSError):
            connected.close()
        if isinstance(error, OSError) and not isinstance(error, ConnectError):
            raise connect_error(error, path) from None
        raise
    return connected

"""The trio client, for any number of tasks: calls, and the connections that they go over one after another."""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from os import PathLike
from typing import Unpack

import trio

from rkllmd.client import peer
from rkllmd.client.arguments import Params, RequestMembers, check_keywords, whole
from rkllmd.client.errors import CallTimeout, ConnectError, closed, connect_error, is_absence, usable_path
from rkllmd.client.messages import Request, is_partial, result_of
from rkllmd.client.recovery import RECONNECTED, Attempts, Lost
from rkllmd.client.trio_connection import TrioConnection
from rkllmd.json_types import Json, JsonObject


class TrioClient:
    """A trio client; any number of tasks may call at once."""

    def __init__(
        self,
        connection: TrioConnection,
        connect: Callable[[], Awaitable[TrioConnection]] | None = None,
        *,
        reconnect: bool | None = None,
    ) -> None:
        """Take the connection over, which ``connect`` makes another one of; without that there is only this one."""
        self._connection = connection
        self._connect = connect
        self._reconnect = reconnect if connect is not None else False
        self._ids = itertools.count(1)
        # What went with earlier connections, as a person would say it, and what the program has not shown to know.
        self._gone: str | None = None
        self._replacing = trio.Lock()

    def close(self) -> None:
        """Disconnect; ``open_client`` does."""
        self._connection.close()

    async def reconnect(self) -> None:
        """Connect anew where the connection has ended, in the knowledge that what was made over it is gone.

        Waits for a daemon that is being started again. Raises ConnectError, ConnectionLost.
        """
        await self._connected(self._attempts("reconnect", None, {}, True))
        self._gone = None

    # -- calls -------------------------------------------------------------------------------------------------------

    async def call(
        self,
        method: str,
        params: Params = None,
        *,
        fds: Sequence[int] = (),
        timeout: float | None = None,  # noqa: ASYNC109  # the plain client's; the call is cancelled in the daemon
        reconnect: bool | None = None,
        **members: Unpack[RequestMembers],
    ) -> Json:
        """Call a method and return its final result. Raises CallError, ConnectionLost, Crashed, CallTimeout.

        ``timeout``: seconds that the whole call may take, its wait for a turn included. ``reconnect``: as the client's.
        """
        final = None
        members = whole(method, params, members)
        stream = self.stream(method, params, fds=fds, timeout=timeout, reconnect=reconnect, **members)
        async with aclosing(stream) as results:
            async for final in results:  # noqa: B007  # the last is it
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
    ) -> AsyncGenerator[Json, None]:
        """Call a method and yield its partial results and then its final one. Raises as ``call``.

        Leaving early, also by cancellation, cancels the call in the daemon; ``async with aclosing(client.stream(…))``
        makes sure that this happens at once and not when the generator is collected.
        """
        check_keywords(members, timeout)
        deadline = math.inf if timeout is None else trio.current_time() + timeout
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
        wanted = self._reconnect if reconnect is None or self._connect is None else reconnect
        return Attempts(method, params, members, reconnect=wanted, deadline=deadline)

    async def _run(
        self,
        attempts: Attempts,
        params: Params,
        fds: Sequence[int],
        timeout: float | None,  # noqa: ASYNC109 - it is only told: the deadline is that of the attempts
        members: Mapping[str, object],
    ) -> AsyncGenerator[Json, None]:
        while True:
            connection = await self._connected(attempts)
            call_id = next(self._ids)
            request = Request(call_id, attempts.method, params, members, fds)
            receive = connection.expect(call_id)
            ended = False
            try:
                with trio.fail_at(attempts.deadline):
                    await connection.send(request, attempts.leaves)
                while not ended:
                    with trio.fail_at(attempts.deadline):
                        message = await connection.receive(receive)
                    ended = not is_partial(message)
                    if attempts.is_refused_for_now(message):
                        raise connection.lost()
                    yield result_of(message)
                return
            except Lost as lost:
                await self._recover(attempts, lost)
            except trio.TooSlowError:
                raise CallTimeout(attempts.method, timeout or 0) from None
            finally:
                connection.forget(call_id)
                if not ended:
                    await connection.cancel(call_id)

    async def notify(self, method: str, params: Params = None) -> None:
        """Send a notification: it is never answered. Raises ConnectionLost, CallError."""
        try:
            await self._connection.send(Request(None, method, params, {}))
        except Lost as lost:
            raise lost.error(method) from None

    # -- events ------------------------------------------------------------------------------------------------------

    async def watch(self, *events: str, reconnect: bool | None = None) -> AsyncGenerator[JsonObject, None]:
        """Yield what happens from now on: "queue", "load" and "job" events (protocol, section 7), until closed.

        One at a time. Where the daemon was replaced, it goes on with the new one unless ``reconnect`` is false;
        ``{"event": "reconnected"}`` stands where something may be missing. Raises CallError, ConnectionLost.
        """
        may_go_on = (self._reconnect if reconnect is None else reconnect) is not False
        is_first = True
        while True:
            connection, receive = await self._subscribe(events, reconnect)
            try:
                if not is_first:
                    yield dict(RECONNECTED)
                async for event in receive:
                    yield event
            finally:
                await connection.end_events(receive)
            if not may_go_on:
                raise connection.lost().error("server.watch")
            is_first = False

    async def _subscribe(
        self, events: Sequence[str], reconnect: bool | None
    ) -> tuple[TrioConnection, trio.MemoryReceiveChannel[JsonObject]]:
        """Ask for events; return the connection over which they come, and where."""
        params = {"events": list(events)}
        attempts = self._attempts("server.watch", params, {}, reconnect)
        while True:
            connection = await self._connected(attempts)
            call_id = next(self._ids)
            receive, answer = connection.expect_events(), connection.expect(call_id)
            try:
                await connection.send(Request(call_id, attempts.method, params, {}))
                message = await connection.receive(answer)
                if attempts.is_refused_for_now(message):
                    raise connection.lost()
                result_of(message)
            except Lost as lost:
                await self._recover(attempts, lost)
            except BaseException:
                await connection.end_events(receive)
                raise
            else:
                return connection, receive
            finally:
                connection.forget(call_id)

    # -- connections -------------------------------------------------------------------------------------------------

    async def _connected(self, attempts: Attempts) -> TrioConnection:
        """Return the connection for a call, a new one where the last one has ended. Raises ClientError."""
        while True:
            refusal = attempts.refusal(self._gone)
            if refusal is not None:
                raise refusal
            if not self._connection.is_lost:
                return self._connection
            async with self._replacing:
                connection = self._connection
                if not connection.is_lost:
                    continue
                self._gone = connection.left or self._gone
                if self._connect is None or not attempts.may_reconnect:
                    raise connection.lost(was_sent=False).error(attempts.method)
                if attempts.refusal(self._gone) is not None:
                    continue
                try:
                    self._connection = await self._connect()
                    continue
                except ConnectError as error:
                    failure = error
            seconds = attempts.pause(trio.current_time()) if is_absence(failure) else None
            if seconds is None:
                raise failure
            await trio.sleep(seconds)

    async def _recover(self, attempts: Attempts, lost: Lost) -> None:
        """Wait until a call may be sent again. Raises what its caller is told where it may not."""
        error = attempts.failure(lost)
        if error is not None:
            raise error from None
        seconds = attempts.pause(trio.current_time(), lost)
        if seconds is None:
            raise lost.error(attempts.method) from None
        await trio.sleep(seconds)


@asynccontextmanager
async def open_client(
    path: str | PathLike[str] | None = None,
    *,
    reconnect: bool | None = None,
    requirepeer: str | int | None = None,
) -> AsyncIterator[TrioClient]:
    """Connect to the daemon for the length of the context. Raises ConnectError, which is an OSError.

    ``reconnect`` and ``requirepeer`` are those of ``Client``.
    """
    path = usable_path(path)
    client: TrioClient | None = None
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:

        async def connect() -> TrioConnection:
            if nursery.cancel_scope.cancel_called:
                raise closed()
            connection = TrioConnection(await _stream(path, requirepeer))
            nursery.start_soon(connection.run)
            return connection

        try:
            client = TrioClient(await connect(), connect, reconnect=reconnect)
            yield client
        except Exception as error:  # the nursery would wrap a CallError in an ExceptionGroup
            failure = error
        finally:
            nursery.cancel_scope.cancel()
            if client is not None:
                client.close()
    if failure is not None:
        raise failure


async def _stream(path: str, requirepeer: str | int | None) -> trio.SocketStream:
    """Return a stream to whom it should be. Raises ConnectError."""
    try:
        stream = await trio.open_unix_socket(path)
    except OSError as error:
        raise connect_error(error, path) from None
    try:
        peer.check(stream.socket, path, requirepeer)
    except BaseException:
        stream.socket.close()
        raise
    return stream

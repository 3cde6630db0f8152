"""The daemon, as all endpoints share it: connections that are kept for the next request, and the models that it has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Final
from weakref import WeakSet

import trio

from rkllmd.client import ClientError, TrioClient, open_client
from rkllmd.gateway import models
from rkllmd.gateway.access_log import record
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.models import ServedModel
from rkllmd.gateway.pictures.showing import Pictures
from rkllmd.gateway.upstream.connection import Connection
from rkllmd.gateway.upstream.wire import Wire
from rkllmd.json_types import JsonObject

# Connections that wait for a request. A daemon that needs the places closes them, which is found out before their use.
_MOST_IDLE: Final = 16
# How often a daemon that has gone is looked for.
_AGAIN_SECONDS: Final = 1.0


class Upstream:
    """The daemon: the path of its socket (None: the default), and who has to serve it, as ``Client`` has it.

    ``pictures``: how those of requests are had. ``known``: the last event "models", as long as its daemon lives; None:
    nobody says which there are.
    """

    def __init__(
        self, socket: str | None = None, requirepeer: str | None = None, pictures: Pictures | None = None
    ) -> None:
        """Remember where it is; nothing is connected."""
        self.pictures = pictures or Pictures()
        self.socket = socket
        self.requirepeer = requirepeer
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self._wires: WeakSet[Wire] = WeakSet()
        self.known: JsonObject | None = None

    def connect(self, *, reconnect: bool | None = None) -> AbstractAsyncContextManager[TrioClient]:
        """Return a client of its own, for who needs several answers at once."""
        return open_client(self.socket, reconnect=reconnect, requirepeer=self.requirepeer)

    async def wire(self) -> Wire:
        """Return a new connection. Raises ConnectError."""
        wire = await Wire.connect(self.socket, self.requirepeer)
        self._wires.add(wire)
        return wire

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection for one request: it is closed, and what runs cancelled, unless all was answered.

        Each request has its own, so that the daemon gives turns to them as to any clients. Raises ConnectError.
        """
        connection = self._kept()
        if connection is None:
            connection = Connection(await self.wire())
        self._lent.add(connection)
        try:
            yield connection
        finally:
            self._lent.remove(connection)
            if len(self._idle) < _MOST_IDLE and connection.is_usable:
                self._idle.append(connection)
            else:
                connection.close()

    async def end(self) -> None:
        """Have the requests fail that are not answered, each with what says whether it had begun: the gateway ends."""
        async with trio.open_nursery() as nursery:
            for connection in self._lent:
                nursery.start_soon(connection.end)
        for wire in list(self._wires):
            wire.cut()

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.close()
        return None

    async def model(self, connection: Connection, name: str | None, *, may_be_known: bool = True) -> ServedModel:
        """Return the model that is meant; ``may_be_known``: it need not be asked for. Raises Failure, ClientError."""
        model = await self._model(connection, name, may_be_known=may_be_known)
        record.current().model = model.name
        return model

    async def _model(self, connection: Connection, name: str | None, *, may_be_known: bool) -> ServedModel:
        known = self.known
        if may_be_known and known is not None and connection.daemon == known["daemon_pid"]:
            # What is not among them may have come this moment.
            with suppress(Failure):
                return models.choose(known, name)
        return models.choose(await connection.status(), name)

    async def watch(self) -> None:
        """Keep in mind which models there are, until cancelled."""
        await self.follow(["models"], self._take)

    async def follow(self, events: Iterable[str], take: Callable[[JsonObject | None], None]) -> None:
        """Give ``take`` the daemon's events of these kinds, until cancelled, also those of the daemons after it.

        None comes where one has gone: what happens until the next event is not told.
        """
        while True:
            with suppress(ClientError):
                await self._follow_one(events, take)
            take(None)
            await trio.sleep(_AGAIN_SECONDS)

    async def _follow_one(self, events: Iterable[str], take: Callable[[JsonObject | None], None]) -> None:
        async with self.connect(reconnect=False) as client:
            async for event in client.watch(*events):
                take(event)

    def _take(self, event: JsonObject | None) -> None:
        self.known = event

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            self._idle.pop().close()

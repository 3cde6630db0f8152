"""A call for a model, which waits for its turn and may take long, and what is known of it meanwhile."""

from __future__ import annotations

import socket
from typing import Final

from rkllmd.client import CallError, Crashed
from rkllmd.gateway import failures
from rkllmd.gateway.access_log import record
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.models import ServedModel
from rkllmd.gateway.run import Wanted
from rkllmd.gateway.upstream import after_crash
from rkllmd.gateway.upstream.connection import Connection
from rkllmd.gateway.upstream.loading import Loading
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.json_types import Json, JsonObject

_METHOD: Final = "rkllm.run_async"
_GONE: Final = ("InvalidHandle", "ModelNotInitialized")


class Run:
    """A call over a connection of its own.

    ``queue``: what ``server.queue`` has answered last, None before that. ``is_misdirected``: its model was unloaded or
    replaced since its handle was learned, so ``begin`` is to be called again.
    """

    def __init__(
        self, upstream: Upstream, connection: Connection, wanted: Wanted, method: str = _METHOD, **members: Json
    ) -> None:
        """Prepare the call of ``method``; ``members`` stand beside it."""
        self.queue: JsonObject | None = None
        self.is_done = self.is_misdirected = False
        self._upstream = upstream
        self._connection = connection
        self._wanted = wanted
        self._method = method
        self._members = members
        self._id = self._queue_id = 0
        self._attempts = 0
        self._has_begun = False
        self._failure: Failure | None = None
        # The load of the model, where it has to be loaded first; and whether that has ended.
        self._loading: Loading | None = None
        self._is_loaded = False

    async def begin(self) -> ServedModel:
        """Send it, or have its model loaded before; return that. Raises Failure, ClientError."""
        is_first, self.is_misdirected = not self._attempts, False
        self._attempts += 1
        model = await self._upstream.model(self._connection, self._wanted.model, may_be_known=is_first)
        if model.handle is None:
            self._loading = Loading(self._connection, model.name)
            await self._loading.begin()
            return model
        shown = await self._upstream.pictures.shown(self._wanted.params, model.name, model.vision)
        params = {"handle": model.handle, **shown}
        self._id = await self._connection.begin(self._method, params, **self._members)
        return model

    async def ask_queue(self) -> None:
        """Ask where it stands; the answer comes among the results. Raises ClientError."""
        self._queue_id = await self._connection.begin("server.queue")

    async def results(self) -> list[JsonObject]:
        """Return what has come, perhaps nothing but the queue; once it is done, the last of them is its result.

        Raises ClientError; Failure where the daemon has refused it, or crashed before it had begun with it.
        """
        if self._failure is not None:
            raise self._failure
        if self._is_loaded:  # not at once: who waits may give up in the middle, and comes again
            await self.begin()
            self._is_loaded = False
        found: list[JsonObject] = []
        for message in await self._received():
            call_id = message.get("id")
            if self._loading is not None and call_id != self._queue_id:
                if await self._loading.take(message):
                    self._loading, self._is_loaded = None, True
                    break  # what follows is about the load
            elif call_id == self._id:
                if "error" in message:
                    self._fail(CallError(message["error"]), is_first=not found)
                else:
                    found.append(message["result"])
                    self._has_begun = True
            elif call_id == self._queue_id:
                self.queue = message.get("result")
        if found:
            self.is_done = self._failure is None and not self._connection.is_open(self._id)
            if self.is_done and self._method == _METHOD:
                record.current().count(found[-1])
        return found

    async def _received(self) -> list[JsonObject]:
        try:
            return await self._connection.receive()
        except Crashed:
            if self._id and not self._has_begun:
                await after_crash.check(self._upstream, self._connection.daemon, self._id)
            raise

    def _fail(self, error: CallError, *, is_first: bool) -> None:
        if error.kind in _GONE and self._attempts == 1 and not self._has_begun:
            self.is_misdirected = True
            return
        self._failure = failures.of(error, self._wanted.names)
        if is_first:
            raise self._failure

    def lend(self) -> tuple[int, socket.socket] | None:
        """Return the id of the call, and the socket for who takes its messages before ``results``.

        None while a message is cut. What was taken and is of no use, is to be put back.
        """
        lent = self._connection.lend()
        return None if lent is None else (self._id, lent)

    def put_back(self, data: bytes) -> None:
        """Let this be received next."""
        self._connection.put_back(data)

    async def whole(self) -> tuple[ServedModel, JsonObject]:
        """Return its model and its result. Raises Failure, ClientError."""
        while True:
            model = await self.begin()
            while not self.is_misdirected:
                found = await self.results()
                if self.is_done:
                    return model, found[-1]

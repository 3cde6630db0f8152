"""Requests that are a run of the daemon: each over a connection of its own, whose end aborts the run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

import orjson
import trio
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from rkllmd.client import CallError, ClientError, TrioClient
from rkllmd.gateway import failures, models, progress
from rkllmd.gateway.boards import patience
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.run import Answer, Framing, Protocol, Wanted
from rkllmd.gateway.web import body
from rkllmd.gateway.web.answers import Upstream, answer_json
from rkllmd.gateway.web.body import GoneError
from rkllmd.gateway.web.hang_up import unless_gone
from rkllmd.json_types import JsonObject

_METHOD: Final = "rkllm.run_async"
# How often a client that waits is told that it still does.
_KEEP_ALIVE_SECONDS: Final = 5
# What the daemon refuses, it refuses at once, and the status can say so. Then a client is told that it is served.
_REFUSAL_SECONDS: Final = 1.0
_DONE: Final = b"data: [DONE]\n\n"

Item = JsonObject | Failure


class RunEndpoint:
    """An ASGI application that answers the requests of one protocol."""

    def __init__(self, upstream: Upstream, protocol: Protocol) -> None:
        """Translate by ``protocol``, for the daemon behind ``upstream``."""
        self._upstream = upstream
        self._protocol = protocol

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            wanted = self._protocol.read(await body.read_json(scope, receive))
            async with self._upstream.connect() as client:
                await self._serve(client, wanted, scope, receive, send)
        except GoneError:
            return
        except (Failure, WrongField, ClientError) as error:
            failure = failures.of(error)
            response = answer_json(self._protocol.error(failure), failure.status, failure.headers)
            await response(scope, receive, send)

    async def _serve(self, client: TrioClient, wanted: Wanted, scope: Scope, receive: Receive, send: Send) -> None:
        model = models.choose(await client.call("server.status"), wanted.model)
        pictures = self._upstream.pictures
        shown = await unless_gone(receive, lambda: pictures.shown(wanted.params, model.name, model.vision))
        params = {"handle": model.handle, **shown}
        answer = self._protocol.answer(wanted, model.name)
        if wanted.streams:
            await self._stream(_Stream(client, params, answer), scope, receive, send)
            return
        result = await unless_gone(receive, lambda: client.call(_METHOD, params, stream="final"))
        await answer_json(answer.whole(result))(scope, receive, send)

    async def _stream(self, stream: _Stream, scope: Scope, receive: Receive, send: Send) -> None:
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.pump)
            nursery.start_soon(stream.watch)
            try:
                wait = patience.seconds(scope["headers"])
                await unless_gone(receive, lambda: stream.begin(_REFUSAL_SECONDS if wait is None else wait))
                await self._response(stream)(scope, receive, send)
            except Exception as error:  # the nursery would wrap it
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _response(self, stream: _Stream) -> Response:
        if self._protocol.framing is Framing.LINES:
            return StreamingResponse(stream.lines(), media_type="application/x-ndjson")
        return EventSourceResponse(
            stream.events(self._protocol.framing),
            sep="\n",
            ping=_KEEP_ALIVE_SECONDS,
            ping_message_factory=lambda: ServerSentEvent(comment=stream.doing, sep="\n"),
        )


class _Stream:
    """A run, and what its client is sent of it. ``doing``: what a client that waits is told."""

    def __init__(self, client: TrioClient, params: JsonObject, answer: Answer) -> None:
        self.doing = "waiting"
        self._client = client
        self._params = params
        self._answer = answer
        self._give, self._take = trio.open_memory_channel[Item](16)
        self._first: Item | None = None
        self._has_begun = False
        self._since = trio.current_time()

    async def pump(self) -> None:
        """Run; what comes of it waits for the client."""
        async with self._give:
            try:
                async with aclosing(self._client.stream(_METHOD, self._params)) as results:
                    async for result in results:
                        self._has_begun = True
                        await self._give.send(result)
            except ClientError as error:
                await self._give.send(failures.of(error))

    async def watch(self) -> None:
        """Learn from time to time what the client has to wait for."""
        while not self._has_begun:
            await trio.sleep(_KEEP_ALIVE_SECONDS * 0.9)
            try:
                queue = await self._client.call("server.queue")
            except (CallError, ClientError):  # the run itself fails then, and says why
                return
            waited_ms = (trio.current_time() - self._since) * 1000
            self.doing = progress.describe(queue, os.getpid(), waited_ms, has_begun=self._has_begun)
        self.doing = progress.GENERATING

    async def begin(self, seconds: float) -> None:
        """Wait until it is certain, or after so long likely, that the run is not refused. Raises Failure if it is."""
        with trio.move_on_after(seconds):
            self._first = await self._take.receive()
        if isinstance(self._first, Failure):
            raise self._first

    async def payloads(self) -> AsyncIterator[JsonObject]:
        """Yield the parts of the answer as they come; an error is the last one."""
        try:
            for part in self._answer.begin():
                yield part
            while (item := await self._next()) is not None:
                if isinstance(item, Failure):
                    raise item
                parts = self._answer.final(item) if "finish_reason" in item else self._answer.partial(item)
                for part in parts if item else self._answer.idle():
                    yield part
        except Failure as failure:
            yield self._answer.error(failure)

    async def _next(self) -> Item | None:
        """Return what comes next, an empty object where nothing does for some seconds, None at the end."""
        if self._first is not None:
            item, self._first = self._first, None
            return item
        with trio.move_on_after(_KEEP_ALIVE_SECONDS):
            try:
                return await self._take.receive()
            except trio.EndOfChannel:
                return None
        return {}

    async def events(self, framing: Framing) -> AsyncIterator[bytes]:
        """Yield server-sent events. None has an id: with one, openai's client takes each later comment for an event."""
        async with aclosing(self.payloads()) as payloads:  # type: ignore[type-var]  # an async generator
            async for part in payloads:
                name = f"event: {part['type']}\n".encode() if framing is Framing.NAMED_EVENTS else b""
                yield name + b"data: " + orjson.dumps(part) + b"\n\n"
        if framing is Framing.EVENTS:
            yield _DONE

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield lines of JSON."""
        async with aclosing(self.payloads()) as payloads:  # type: ignore[type-var]  # an async generator
            async for part in payloads:
                yield orjson.dumps(part, option=orjson.OPT_APPEND_NEWLINE)

"""Requests that are a run of the daemon: each over a connection of its own, whose end aborts the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Final

import orjson
import trio
from sse_starlette import ServerSentEvent
from starlette.types import Receive, Scope, Send

from rkllmd.client import ClientError
from rkllmd.gateway import failures, progress
from rkllmd.gateway.access_log import record
from rkllmd.gateway.boards import patience
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.run import Answer, Framing, Protocol, Wanted
from rkllmd.gateway.tokens.plain import PlainTokens, is_plain
from rkllmd.gateway.upstream.connection import Connection
from rkllmd.gateway.upstream.residence import Move, leave
from rkllmd.gateway.upstream.run import Run
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.web import body
from rkllmd.gateway.web.answers import answer_failure
from rkllmd.gateway.web.body import GoneError
from rkllmd.gateway.web.bounds.connections import CONNECTION, LoneServer
from rkllmd.gateway.web.hang_up import unless_gone
from rkllmd.json_types import JsonObject

# How often a client that waits is told that it still does.
_KEEP_ALIVE_SECONDS: Final = 5.0
# What the daemon refuses, it refuses at once, and the status can say so. Then a client is told that it is served.
_REFUSAL_SECONDS: Final = 1.0
_DONE: Final = b"data: [DONE]\n\n"
_EVENT_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
_LINE_HEADERS: Final = ((b"content-type", b"application/x-ndjson"),)
_JSON_HEADERS: Final = ((b"content-type", b"application/json"),)


def _chunked(scope: Scope) -> LoneServer | None:
    """Return the connection of a request whose answer, of unknown length, is sent in chunks."""
    found: LoneServer | None = scope.get("state", {}).get(CONNECTION)
    return found if scope.get("http_version") == "1.1" else None


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
            async with self._upstream.connection() as connection:
                if wanted.streams:
                    stream = _Stream(
                        partial(Run, self._upstream, connection), wanted, self._protocol, send, _chunked(scope)
                    )
                    wait = patience.seconds(scope["headers"])
                    wait = _REFUSAL_SECONDS if wait is None else wait
                    end = await unless_gone(receive, partial(stream.send_all_but_end, wait), stream.keep_alive)
                else:
                    end = await unless_gone(receive, partial(self._whole, connection, wanted))
                if wanted.leaves:
                    await leave(connection, wanted.model)
        except GoneError:
            return
        except (Failure, WrongField, ClientError) as error:
            await answer_failure(error, self._protocol.error)(scope, receive, send)
            return
        # Whoever hangs up from here on is not noticed: the server's own end of the answer must not be cancelled.
        if not wanted.streams:
            length = (b"content-length", b"%d" % len(end))
            await send({"type": "http.response.start", "status": 200, "headers": (*_JSON_HEADERS, length)})
        await send({"type": "http.response.body", "body": end})

    async def _whole(self, connection: Connection, wanted: Wanted) -> bytes:
        """Return the whole answer. Raises Failure, ClientError."""
        answer: Answer | None = None
        shown: JsonObject = {}
        for index in range(wanted.choices):
            run: Run | Move = Run(self._upstream, connection, wanted.choice(index), stream="final")
            if wanted.residence is not None:
                run = Move(connection, wanted.model, wanted.residence)
            model, result = await run.whole()
            answer = answer or self._protocol.answer(wanted, model.name)
            shown = answer.whole(result)
        return orjson.dumps(shown)


class _Stream:
    """A run for each answer, and what the client is sent of it while it goes on."""

    def __init__(
        self,
        run_of: Callable[[Wanted], Run],
        wanted: Wanted,
        protocol: Protocol,
        send: Send,
        client: LoneServer | None,
    ) -> None:
        """``client``: the connection that ``send`` sends to, where that has the answer in chunks."""
        self._client = client
        self._run_of = run_of
        self._run = run_of(wanted)
        self._wanted = wanted
        self._protocol = protocol
        self._send = send
        self._has_begun = False
        # Whether the last result was but a few words, so that more of them may follow.
        self._is_plain = False
        # None until the response begins.
        self._answer: Answer | None = None
        self._last_at = trio.current_time()
        # What was said last of the queue.
        self._told: JsonObject | None = None
        # What is to be sent next.
        self._piece = bytearray()

    async def send_all_but_end(self, wait: float) -> bytes:
        """Send what comes, as it comes; return the end. Raises Failure, ClientError where the run is refused.

        Nothing is sent before the first result has come, or ``wait`` seconds have gone.
        """
        name, first = await self._first(wait)
        answer = self._protocol.answer(self._wanted, name)
        is_lines = self._protocol.framing is Framing.LINES
        headers = _LINE_HEADERS if is_lines else _EVENT_HEADERS
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self._answer = answer
        try:
            self._add(answer.begin())
            self._add_results(answer, first)
            await self._send_rest(answer)
            for index in range(1, self._wanted.choices):
                self._run = self._run_of(self._wanted.choice(index))
                _, first = await self._first(_KEEP_ALIVE_SECONDS)
                self._add_results(answer, first)
                await self._send_rest(answer)
        except (Failure, ClientError) as error:
            failure = failures.of(error)
            record.current().error = failure.kind
            self._add([answer.error(failure)])
        return bytes(self._piece) + (_DONE if self._protocol.framing is Framing.EVENTS else b"")

    async def _send_rest(self, answer: Answer) -> None:
        """Send what comes of a run, up to its end."""
        while not self._run.is_done:
            await self._send_piece()
            if await self._was_passing(answer):
                continue
            results = await self._run.results()
            if self._run.is_misdirected:
                await self._run.begin()
            self._add_results(answer, results)
            if self._run.queue is not None and self._run.queue is not self._told:
                self._told = self._run.queue
                self._add_sign(answer)

    async def _was_passing(self, answer: Answer) -> bool:
        """Let words that follow words go to the client by a shorter way; return whether the next may go there too."""
        lent = self._run.lend() if self._is_plain else None
        if self._client is None or lent is None or not self._client.sends_at_once:
            return False
        call_id, source = lent
        tokens = PlainTokens.of(call_id, answer, self._protocol.framing)
        if not tokens.passes_any:
            return False
        rest = await self._client.pass_on(source, tokens.translate, _KEEP_ALIVE_SECONDS)
        tokens.tell(answer)
        self._last_at = trio.current_time()
        if rest is None:
            self._add_sign(answer)
            return True
        self._run.put_back(rest)
        return False

    async def _first(self, wait: float) -> tuple[str, list[JsonObject]]:
        """Return the model's name and the first results; none if it is only likely that the run is not refused."""
        while True:
            model = await self._run.begin()
            found: list[JsonObject] = []
            with trio.move_on_after(wait):
                while not (found or self._run.is_misdirected):
                    found = await self._run.results()
            if not self._run.is_misdirected:
                return model.name, found

    async def keep_alive(self) -> None:
        """Tell a client that waits that it still does; a run that has not begun is asked for its place before that."""
        while True:
            await trio.sleep_until(self._last_at + _KEEP_ALIVE_SECONDS)
            if self._client is not None and self._client.is_passing:  # where pauses are noticed
                self._last_at = trio.current_time()
            if trio.current_time() < self._last_at + _KEEP_ALIVE_SECONDS:
                continue
            self._last_at = trio.current_time()
            if self._answer is None:
                continue
            if self._has_begun:
                self._add_sign(self._answer)
                await self._send_piece()
            else:
                with suppress(Failure, ClientError):  # the run fails then, and says why
                    await self._run.ask_queue()

    def _add_sign(self, answer: Answer) -> None:
        """Add what shows a client that it is served."""
        if self._protocol.framing is not Framing.LINES:
            doing = progress.describe(self._run.queue, has_begun=self._has_begun)
            self._piece += ServerSentEvent(comment=doing, sep="\n").encode()
        self._add(answer.idle())

    def _add_results(self, answer: Answer, results: list[JsonObject]) -> None:
        self._has_begun = self._has_begun or bool(results)
        last = results.pop() if self._run.is_done else None
        self._is_plain = bool(results) and is_plain(results[-1])
        for result in results:
            self._add(answer.partial(result))
        if last is not None:
            self._add(answer.final(last))

    def _add(self, parts: Iterable[JsonObject]) -> None:
        for part in parts:
            self._piece += self._protocol.framing.frame(part)

    async def _send_piece(self) -> None:
        if self._piece:
            piece, self._piece = bytes(self._piece), bytearray()
            self._last_at = trio.current_time()
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})

"""A connection for one request at a time, and the messages that come over it."""

from __future__ import annotations

import itertools
import random
import socket
from contextlib import suppress
from typing import Final

import orjson
import trio

from rkllmd.client.messages import Reader, is_partial, result_of
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.upstream.wire import Wire
from rkllmd.json_types import Json, JsonObject

_STATUS: Final = "server.status"
_QUEUE: Final = "server.queue"
# A daemon that is well says at once what waits.
_QUEUE_SECONDS: Final = 1.0
# No two calls of anybody have the same id: after a crash the daemon names the call that it died of by its id.
_IDS: Final = itertools.count(random.getrandbits(48))


def ended(*, is_begun: bool) -> Failure:
    """Return why a request is not answered any more when the gateway ends."""
    what = "was answered." if is_begun else "had begun: send it again."
    return Failure(
        502 if is_begun else 503, "ShuttingDown", f"The gateway was asked to end before this {what}", again=True
    )


def _only_waits(messages: list[JsonObject], call_id: int) -> bool:
    """Return whether what is asked over the connection waits for its turn, by the answer of ``server.queue``."""
    found = next((message.get("result") for message in messages if message.get("id") == call_id), None)
    if not found:
        return False
    return not any(item["own"] for item in found["running"]) and any(item["own"] for item in found["queue"])


class Connection:
    """A connection that one task uses. ``daemon``: the process that serves it, once that is known."""

    def __init__(self, wire: Wire) -> None:
        """Take the wire over."""
        self.daemon: int | None = None
        self._wire = wire
        self._reader = Reader()
        # What was asked and not answered, by its id.
        self._asked: dict[int, str] = {}
        # What came and is to be read again.
        self._unread = b""
        self._is_lost = False
        self._was_sent = True
        # Of the question what waits, at the end of the gateway.
        self._last_id: int | None = None

    @property
    def is_usable(self) -> bool:
        """Return whether another request may be made: all is answered, and the daemon is still there."""
        return not self._asked and not self._is_lost and self._wire.is_quiet

    async def begin(self, method: str, params: Json = None, **members: Json) -> int:
        """Ask for something; return the id that its messages have. Raises ClientError."""
        call_id = next(_IDS)
        asked: JsonObject = {"jsonrpc": "2.0", "id": call_id, "method": method, **members}
        if params is not None:
            asked["params"] = params
        self._asked[call_id] = method
        try:
            await self._wire.send(orjson.dumps(asked, option=orjson.OPT_APPEND_NEWLINE))
        except OSError:
            self._was_sent = False
            while await self.receive():  # what the daemon said before it closed the connection
                pass
        return call_id

    async def receive(self) -> list[JsonObject]:
        """Return the next messages, at least one. Raises ClientError where no more come."""
        while True:
            data, self._unread = self._unread or await self._wire.receive(), b""
            if not data:
                self._is_lost = True
                if self._wire.is_cut:
                    # Where all that was asked could not be sent any more, nothing has begun.
                    raise ended(is_begun=self._was_sent or len(self._asked) > 1)
                method = next(iter(self._asked.values()), _STATUS)
                # What was not read is what was sent last: where that is all that was asked, nothing has begun.
                is_unread = self._wire.is_unread and len(self._asked) == 1
                raise self._reader.lost(was_sent=self._was_sent and not is_unread).error(method)
            messages = self._reader.feed(data)
            for message in messages:
                if "id" in message and not is_partial(message):  # events have none
                    self._asked.pop(message["id"], None)
            if self._last_id is not None and self._last_id not in self._asked and self._asked:
                self._wire.cut()
                raise ended(is_begun=not _only_waits(messages, self._last_id))
            if messages:
                return messages

    def lend(self) -> socket.socket | None:
        """Return the socket for who takes what comes there before ``receive`` does; None while a message is cut."""
        return None if self._reader.is_in_line or self._unread else self._wire.socket

    def put_back(self, data: bytes) -> None:
        """Let this be received next."""
        self._unread = data

    def is_open(self, call_id: int) -> bool:
        """Return whether more messages will come for this id."""
        return call_id in self._asked

    async def call(self, method: str, params: Json = None, **members: Json) -> Json:
        """Return the final result of a call. Raises ClientError."""
        call_id = await self.begin(method, params, **members)
        while True:
            for message in await self.receive():
                if message.get("id") == call_id and not is_partial(message):
                    return result_of(message)

    async def status(self) -> JsonObject:
        """Return ``server.status``. Raises ClientError."""
        status: JsonObject = await self.call(_STATUS)
        self.daemon = status["daemon_pid"]
        return status

    async def end(self) -> None:
        """Have what is asked end with ``ended``, since the gateway does: whoever receives gets it."""
        if self._asked:
            self._last_id = next(_IDS)
            self._asked[self._last_id] = _QUEUE
            asked = {"jsonrpc": "2.0", "id": self._last_id, "method": _QUEUE}
            with suppress(OSError), trio.move_on_after(_QUEUE_SECONDS):
                await self._wire.send(orjson.dumps(asked, option=orjson.OPT_APPEND_NEWLINE))
                await self._wire.ended.wait()
        self._wire.cut()

    def close(self) -> None:
        """Hang up: what runs is cancelled."""
        self._wire.close()
        self._reader.close()

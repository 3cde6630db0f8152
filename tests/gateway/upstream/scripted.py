"""A daemon that answers as the test says, on a real socket, one request after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import trio

from rkllmd.gateway.upstream.upstream import Upstream

# Returns the messages for a request; None ends the connection.
Script = Callable[[dict[str, Any]], list[dict[str, Any]] | None]


class ScriptedDaemon:
    """Its connections, in the order in which they came, with the methods that were asked over each."""

    def __init__(self, script: Script) -> None:
        self.asked: list[list[str]] = []
        self.gone = self.answered = 0
        self.somebody_left = trio.Event()
        self._script = script
        self._streams: list[trio.SocketStream] = []
        # The connection over which something was asked last, and the id.
        self._last: tuple[trio.SocketStream, Any] | None = None

    def end(self) -> None:
        """Close all connections."""
        for stream in self._streams:
            stream.socket.close()

    async def say(self, **answer: Any) -> None:
        """Send one more message for what was asked last."""
        assert self._last is not None, "something was asked"
        await self._say(*self._last, answer)

    @staticmethod
    async def _say(stream: trio.SocketStream, call_id: Any, answer: dict[str, Any]) -> None:
        # As the daemon writes it, without spaces.
        message = {"jsonrpc": "2.0", "id": call_id, **answer}
        await stream.send_all(orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE))

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer until the client hangs up, or the script ends it."""
        asked: list[str] = []
        self.asked.append(asked)
        self._streams.append(stream)
        rest = b""
        try:
            async for data in stream:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    request = orjson.loads(line)
                    asked.append(request["method"])
                    answers = self._script(request)
                    if answers is None:
                        return
                    for answer in answers:
                        await self._say(stream, request["id"], answer)
                        self.answered += 1
                    self._last = (stream, request["id"])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.gone += 1
            self.somebody_left.set()
            await trio.aclose_forcefully(stream)


@asynccontextmanager
async def daemon(folder: Path, script: Script) -> AsyncIterator[tuple[ScriptedDaemon, Upstream]]:
    """Serve, and yield what the gateway has of it."""
    path = str(folder / "scripted.sock")
    found = ScriptedDaemon(script)
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(path)
    listening.listen(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, found.serve, [trio.SocketListener(listening)])
        upstream = Upstream(path)
        yield found, upstream
        upstream.close()
        nursery.cancel_scope.cancel()

"""The process that an MCP host has started for itself."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import orjson
import trio
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server
from mcp_types import INVALID_REQUEST, PARSE_ERROR

from rkllmd.gateway.mcp.subscriptions import Subscriptions

_STDIN, _STDOUT = 0, 1
_READ_BYTES: Final = 65_536
# As much as a request over HTTP may have.
_MOST_BYTES: Final = 16 * 2**20


def serve(server: Server[Subscriptions]) -> None:
    """Serve the host over stdin and stdout, until it closes one of them, or a signal comes."""
    # There is nothing to save: the daemon ends what runs for a process that has gone.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    trio.run(_serve, server)


async def _serve(server: Server[Subscriptions]) -> None:
    with trio.CancelScope() as scope:
        output = Output(scope)
        # The SDK's own would wait for stdin after everything else has ended, and end at texts that UTF-8 does not have.
        async with stdio_server(Input(output), output) as (incoming, outgoing):  # type: ignore[arg-type]  # as it uses them
            await server.run(incoming, outgoing, server.create_initialization_options())


class Output:
    """The host's end of stdout: a line for each message. ``scope`` is cancelled once nobody reads."""

    def __init__(self, scope: trio.CancelScope) -> None:
        """Begin to write."""
        self._scope = scope
        self._writing = trio.Lock()

    async def write(self, line: str) -> None:
        """Write a line, behind what another task writes."""
        async with self._writing:
            rest = memoryview(line.encode())
            while rest:
                try:
                    written = await trio.to_thread.run_sync(os.write, _STDOUT, rest, abandon_on_cancel=True)
                except OSError:
                    self._scope.cancel()
                    return
                rest = rest[written:]

    async def flush(self) -> None:
        """Do nothing: what was written is on its way."""

    async def refuse(self, code: int, message: str) -> None:
        """Answer a line of which it is not known what it asks."""
        answer = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
        await self.write(orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE).decode())


class Input:
    """The lines that the host sends. Those that are no message are answered, and left out."""

    def __init__(self, output: Output) -> None:
        """Begin to read."""
        self._output = output

    async def __aiter__(self) -> AsyncIterator[str]:
        """Yield each line that is a JSON object."""
        async for line in self._lines():
            try:
                message = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                await self._output.refuse(PARSE_ERROR, f"This line is no JSON: {error}")
                continue
            if isinstance(message, dict):
                yield line.decode()
            else:
                await self._output.refuse(INVALID_REQUEST, "A message is a JSON object; there are no batches.")

    async def _lines(self) -> AsyncIterator[bytes]:
        """Yield each line that is not too long, and is not empty."""
        read = partial(os.read, _STDIN, _READ_BYTES)
        pending, is_too_long = bytearray(), False
        while data := await trio.to_thread.run_sync(read, abandon_on_cancel=True):
            *ends, rest = data.split(b"\n")
            for end in ends:
                if not is_too_long and (line := bytes(pending + end).strip()):
                    yield line
                pending, is_too_long = bytearray(), False
            pending += rest
            if len(pending) > _MOST_BYTES:
                if not is_too_long:
                    await self._output.refuse(INVALID_REQUEST, f"A message has at most {_MOST_BYTES} bytes.")
                pending, is_too_long = bytearray(), True

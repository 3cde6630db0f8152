"""The process that an MCP host has started for itself."""

from __future__ import annotations

import trio
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server


def serve(server: Server) -> None:
    """Serve the host over stdin and stdout, until it closes stdin."""
    trio.run(_serve, server)


async def _serve(server: Server) -> None:
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())

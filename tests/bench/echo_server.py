"""The limit to compare with: a trio server that sends back what it receives and does nothing else."""

from __future__ import annotations

import socket
import sys

import trio


async def _echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def _main(path: str) -> None:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(path)
    listening.listen()
    print("ready", flush=True)
    await trio.serve_listeners(_echo, [trio.SocketListener(trio.socket.from_stdlib_socket(listening))])


if __name__ == "__main__":
    trio.run(_main, sys.argv[1])

"""Who is connected: what becomes of one that leaves, of one too many, and of all of them at the end."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rkllmd.errors import ShuttingDown
from rkllmd.net import admission
from rkllmd.net.clients import Clients
from rkllmd.net.receiver import Receiver
from rkllmd.service.parts import Service
from tests.net.listening.sockets import bound
from tests.service.services import assembled, method

PATIENCE = 120


class Stream:
    """A client's end of a connection."""

    def __init__(self, socket: trio.SocketStream) -> None:
        self.socket = socket
        self._received = b""

    async def send(self, method: str, **params: Any) -> None:
        """Send a request."""
        line = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        await self.socket.send_all(json.dumps(line).encode() + b"\n")

    async def receive(self) -> Any:
        """Return the next message; None at the end of file."""
        with trio.fail_after(PATIENCE):
            while b"\n" not in self._received:
                data = await self.socket.receive_some()
                if not data:
                    return None
                self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    async def ask(self, method: str, **params: Any) -> Any:
        """Send a request, and return its answer."""
        await self.send(method, **params)
        return await self.receive()


class Served:
    """Clients that are served at a path."""

    def __init__(self, service: Service, clients: Clients, path: str) -> None:
        self.service, self.clients, self.path = service, clients, path
        self.streams: list[Stream] = []

    async def connect(self) -> Stream:
        """Connect to them."""
        self.streams.append(Stream(await trio.open_unix_socket(self.path)))
        return self.streams[-1]


@asynccontextmanager
async def served(directory: Path, **settings: Any) -> AsyncIterator[Served]:
    path = str(directory / "rkllm.sock")
    with bound(path) as listening:
        async with assembled(**settings) as service, trio.open_nursery() as nursery:
            clients = Clients(service, Receiver(lambda: False))
            nursery.start_soon(clients.run, listening)
            those = Served(service, clients, path)
            yield those
            for stream in those.streams:
                await stream.socket.aclose()
            nursery.cancel_scope.cancel()


async def left(served: Served, count: int) -> None:
    """Wait until only so many are there."""
    with trio.fail_after(PATIENCE):
        while len(served.service.clients) > count:
            await trio.lowlevel.checkpoint()


async def test_who_leaves_is_known_no_more(tmp_path: Path) -> None:
    async with served(tmp_path) as those:
        stays, leaves = await those.connect(), await those.connect()
        await leaves.ask("server.watch", events=["job"])
        await stays.ask("server.status")
        number = max(those.service.clients)
        assert those.service.events.is_watching(those.service.clients[number])
        client = those.service.clients[number]
        await leaves.socket.aclose()
        await left(those, 1)
        assert number not in those.service.clients
        assert not those.service.events.is_watching(client)
        assert "result" in await stays.ask("server.status")


async def test_one_too_many_is_told_so_and_the_others_stay(tmp_path: Path) -> None:
    async with served(tmp_path, max_connections=2, reserved_connections=0) as those:
        first, second = await those.connect(), await those.connect()
        assert "result" in await first.ask("server.status")
        assert "result" in await second.ask("server.status")
        third = await those.connect()
        assert (await third.receive())["error"]["data"]["kind"] == "QueueFull"
        assert await third.receive() is None, "the end of file"
        assert "result" in await first.ask("server.status")


async def test_one_that_is_idle_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "IDLE_SECONDS", 0.0)
    async with served(tmp_path, max_connections=1, reserved_connections=0) as those:
        idle = await those.connect()
        assert "result" in await idle.ask("server.status")
        assert "result" in await (await those.connect()).ask("server.status")
        assert await idle.receive() is None, "the end of file"


async def test_for_each_newcomer_another_one_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come before the first one that is asked to leave has left: it is not asked twice."""
    monkeypatch.setattr(admission, "IDLE_SECONDS", 0.0)
    async with served(tmp_path, max_connections=2, reserved_connections=0) as those:
        idle = [await those.connect() for _ in range(2)]
        for one in idle:
            assert "result" in await one.ask("server.status")
        ours, newcomers = zip(*(socket.socketpair() for _ in range(2)), strict=True)
        async with trio.open_nursery() as nursery:
            for theirs in newcomers:
                theirs.setblocking(False)
                nursery.start_soon(those.clients._serve, theirs)
            for one in idle:
                assert await one.receive() is None, "both have made room"
            for end in ours:
                end.close()


async def test_at_the_end_each_call_is_answered_and_nobody_is_accepted(tmp_path: Path) -> None:
    gate = threading.Event()
    async with served(tmp_path) as those:
        those.service.methods["rkllm.test"] = method(call=lambda *_: gate.wait(PATIENCE) and {})
        waits = await those.connect()
        await waits.send("rkllm.test")
        with trio.fail_after(PATIENCE):
            while those.service.npu.queue.running is None:
                await trio.lowlevel.checkpoint()
        those.clients.accept_no_more()
        with trio.fail_after(PATIENCE):
            await those.clients.answer_all(ShuttingDown("The daemon is shutting down."), PATIENCE)
        gate.set()
        assert (await waits.receive())["error"]["data"]["kind"] == "ShuttingDown"
        assert await waits.receive() is None, "the end of file"
        await those.connect()
        await wait_all_tasks_blocked()
        assert not those.service.clients

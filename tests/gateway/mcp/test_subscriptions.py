"""A host is told when a resource has changed, in both eras of the protocol, by the SDK's client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.daemon import Daemon, Start, until

STATUS, MODELS = "rkllmd://status", "rkllmd://models"
UPDATED = "notifications/resources/updated"


@pytest.fixture
def daemon(start: Start) -> Daemon:
    return start()


@asynccontextmanager
async def host(path: str, mode: str, **options: Any) -> AsyncIterator[Any]:
    """Yield the SDK's client before a server of our own in this process."""
    from mcp.client.client import Client

    from rkllmd.gateway.mcp import server
    from rkllmd.gateway.upstream.upstream import Upstream

    upstream = Upstream(path)
    async with Client(server.serve(upstream, {}), mode=mode, **options) as client:
        yield client
    upstream.close()


async def _read(client: Any, uri: str = MODELS) -> str:
    (content,) = (await client.read_resource(uri)).contents
    return str(content.text)


async def _is_there(client: Any) -> bool:
    return '"model"' in await _read(client)


async def test_a_stream_tells_of_a_model_that_came(daemon: Daemon) -> None:
    wanted = [MODELS, "rkllmd://nothing"]
    async with (
        host(daemon.path, "auto") as client,
        client.listen(resource_subscriptions=wanted, tools_list_changed=True) as updates,
    ):
        assert updates.honored.resource_subscriptions == [MODELS]
        assert updates.honored.tools_list_changed is None
        assert not await _is_there(client)
        await trio.to_thread.run_sync(daemon.load)
        async for update in updates:
            assert update.uri == MODELS
            if await _is_there(client):
                break


@pytest.mark.filterwarnings("ignore:resources/(un)?subscribe is removed")
async def test_a_host_of_the_earlier_era_is_told_until_it_says_otherwise(daemon: Daemon) -> None:
    from mcp.shared.exceptions import MCPError

    told, hear = trio.open_memory_channel[str](100)

    async def heard(message: Any) -> None:
        if getattr(message, "method", "") == UPDATED:
            await told.send(message.params.uri)

    async with host(daemon.path, "legacy", message_handler=heard) as client:
        with pytest.raises(MCPError, match="no resource"):
            await client.subscribe_resource("rkllmd://nothing")
        await client.subscribe_resource(MODELS)
        await client.subscribe_resource(STATUS)
        await trio.to_thread.run_sync(daemon.load)
        while not await _is_there(client):
            assert await hear.receive() in (STATUS, MODELS)
        while await hear.receive() != MODELS:
            pass
        await client.unsubscribe_resource(MODELS)
        while hear.statistics().current_buffer_used:
            hear.receive_nowait()
        with daemon.connect() as wire:
            await trio.to_thread.run_sync(wire.ask, "rkllm.destroy")
        assert await hear.receive() == STATUS, "that of the models would come before it"


async def test_the_daemon_is_watched_as_long_as_somebody_listens(daemon: Daemon) -> None:
    with daemon.connect() as wire:

        def clients() -> int:
            return int(wire.ask("server.status")["result"]["clients"])

        async with host(daemon.path, "auto") as client:
            async with client.listen(resource_subscriptions=[STATUS]):
                await trio.to_thread.run_sync(until, "it is watched", lambda: clients() == 2)
            await trio.to_thread.run_sync(until, "it is left alone", lambda: clients() == 1)

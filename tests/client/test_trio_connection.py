"""The trio client's connection: half requests, its end, and a daemon that does not read."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rkllmd.client import CallError, ConnectionLost, Crashed, TrioClient
from rkllmd.client.trio_connection import TrioConnection
from tests.client.played import failure, trio_played


async def test_trio_a_daemon_that_does_not_read_holds_nobody_who_leaves(autojump_clock: Any) -> None:
    """Cancelling must end even if the cancellation can't be sent: it is tried for a second."""
    async with trio_played() as (client, _, _):
        big = "x" * 4_000_000
        begun = trio.current_time()
        with trio.move_on_after(5):
            await client.call("x", {"prompt": big})
        assert trio.current_time() - begun == pytest.approx(6)


async def test_trio_half_a_request_does_not_swallow_the_next_one() -> None:
    """A call cancelled while its request was being sent leaves half a line behind."""
    async with trio_played() as (client, daemon, nursery):
        scope = trio.CancelScope()

        async def calls() -> None:
            with scope:
                await client.call("first", {"prompt": "x" * 4_000_000})

        nursery.start_soon(calls)
        await wait_all_tasks_blocked()
        scope.cancel()
        torn = await daemon.line()
        with pytest.raises(json.JSONDecodeError):
            json.loads(torn)
        assert (await daemon.request())["method"] == "$/cancelRequest"
        nursery.start_soon(daemon.answer, "good")
        assert await client.call("second") == "good"
    assert [request["method"] for request in daemon.requests] == ["second"]


async def test_trio_a_connection_that_ends() -> None:
    async with trio_played() as (client, daemon, nursery):
        caught: list[type[Exception]] = []

        async def calls() -> None:
            try:
                await client.call("x")
            except ConnectionLost as error:
                caught.append(type(error))

        nursery.start_soon(calls)
        nursery.start_soon(calls)
        await daemon.request()
        await daemon.request()
        await daemon.stream.aclose()
        await wait_all_tasks_blocked()
        assert caught == [Crashed, Crashed], "the daemon had them"
        with pytest.raises(ConnectionLost):
            await client.call("late")


async def test_trio_sending_into_a_connection_that_is_gone() -> None:
    ours, theirs = trio.socket.socketpair()
    theirs.close()
    async with trio.SocketStream(ours) as stream, trio.open_nursery() as nursery:
        connection = TrioConnection(stream)
        nursery.start_soon(connection.run)
        client = TrioClient(connection)
        with pytest.raises(ConnectionLost):
            await client.notify("x")
        with pytest.raises(ConnectionLost):
            await client.call("x")


async def test_trio_why_the_daemon_closed_the_connection() -> None:
    async with trio_played() as (client, daemon, _):
        await daemon.send(failure(None, "QueueFull", limit=100))
        await daemon.stream.aclose()
        for _ in range(2):
            with pytest.raises(CallError) as caught:
                await client.call("x")
            assert caught.value.kind == "QueueFull"

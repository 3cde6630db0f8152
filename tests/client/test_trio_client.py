"""The trio client, against a daemon that the test plays."""

from __future__ import annotations

import contextlib
import json
import socket as stdlib_socket
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rkllmd.client import CallError, ConnectionLost, Crashed, TrioClient, open_client
from rkllmd.client.trio_connection import TrioConnection
from tests.client.played import FINAL, PARTIAL, TrioPlayed, failure, result, trio_played


async def test_trio_a_call() -> None:
    async with trio_played() as (client, daemon, nursery):
        nursery.start_soon(daemon.answer, PARTIAL, FINAL)
        assert await client.call("rkllm.run_async", {"prompt": "Hi"}, stream="partial") == FINAL
    assert daemon.requests == [
        {"jsonrpc": "2.0", "id": 1, "method": "rkllm.run_async", "stream": "partial", "params": {"prompt": "Hi"}}
    ]


async def test_trio_any_number_of_tasks_at_once() -> None:
    results: dict[int, list[Any]] = {}

    async def streams(client: TrioClient) -> None:
        found = [item async for item in client.stream("x")]
        results[found[0]["seq"]] = found

    async with trio_played() as (client, daemon, _):
        async with trio.open_nursery() as callers:
            for _ in range(3):
                callers.start_soon(streams, client)
            ids = [(await daemon.request())["id"] for _ in range(3)]
            assert sorted(ids) == [1, 2, 3]
            for call_id in reversed(ids):
                await daemon.send(result(call_id, {**PARTIAL, "seq": call_id}))
            for call_id in ids:
                await daemon.send(result(call_id, {**FINAL, "seq": call_id}))
        assert client._connection._waiting == {}
    assert results == {n: [{**PARTIAL, "seq": n}, {**FINAL, "seq": n}] for n in (1, 2, 3)}


async def test_trio_an_error_is_raised() -> None:
    async def refuses(daemon: TrioPlayed) -> None:
        request = await daemon.request()
        await daemon.send(failure(request["id"], limit=5))

    async with trio_played() as (client, daemon, nursery):
        nursery.start_soon(refuses, daemon)
        with pytest.raises(CallError) as caught:
            await client.call("x")
        assert caught.value.data["limit"] == 5
        nursery.start_soon(daemon.answer, 1)
        assert await client.call("y") == 1
    assert [request["method"] for request in daemon.requests] == ["y"], "what has ended is not cancelled"


async def test_trio_a_notification() -> None:
    async with trio_played() as (client, daemon, _):
        await client.notify("$/cancelRequest", {"id": 5})
        await client.notify("x")
        assert await daemon.request() == {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 5}}
        assert await daemon.request() == {"jsonrpc": "2.0", "method": "x"}


async def test_trio_messages_for_nobody_are_dropped() -> None:
    async with trio_played() as (client, daemon, nursery):
        await daemon.send(result(99, 1), {"jsonrpc": "2.0", "method": "rkllm.token", "params": {"id": 1}})
        nursery.start_soon(daemon.answer, 2)
        assert await client.call("x") == 2


async def test_trio_a_cancelled_call_is_cancelled_in_the_daemon() -> None:
    async with trio_played() as (client, daemon, nursery):
        scope = trio.CancelScope()

        async def calls() -> None:
            with scope:
                await client.call("rkllm.run_async")

        nursery.start_soon(calls)
        request = await daemon.request()
        await daemon.send(result(request["id"], PARTIAL))
        await wait_all_tasks_blocked()
        scope.cancel()
        assert await daemon.request() == {
            "jsonrpc": "2.0",
            "method": "$/cancelRequest",
            "params": {"id": request["id"]},
        }
        # Its answer comes nevertheless, for nobody; the next call is not confused by it.
        await daemon.send(result(request["id"], {**FINAL, "finish_reason": "abort"}))
        nursery.start_soon(daemon.answer, "next")
        assert await client.call("y") == "next"


async def test_trio_a_stream_left_early_is_cancelled_in_the_daemon() -> None:
    async with trio_played() as (client, daemon, nursery):
        nursery.start_soon(daemon.answer, PARTIAL)
        async with contextlib.aclosing(client.stream("x")) as stream:
            async for _ in stream:
                break
        assert (await daemon.request())["params"] == {"id": daemon.requests[0]["id"]}
        assert client._connection._waiting == {}


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


async def test_trio_an_exception_in_the_body_comes_out_as_it_is(path: str) -> None:
    """An ``except CallError`` around ``async with open_client()`` must do."""
    with stdlib_socket.socket(stdlib_socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        with pytest.raises(CallError):
            async with open_client(path):
                raise CallError({"code": 1, "message": "x"})
        with trio.move_on_after(120) as scope:
            async with open_client(path):
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught


async def test_trio_no_daemon(path: str) -> None:
    with pytest.raises(FileNotFoundError):
        async with open_client(path):
            pass

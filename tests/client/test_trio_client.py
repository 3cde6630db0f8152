"""The trio client, against a daemon that the test plays."""

from __future__ import annotations

import contextlib
import socket as stdlib_socket
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rkllmd.client import CallError, TrioClient, open_client
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

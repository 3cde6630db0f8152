"""A WebSocket's client that does not read keeps nothing in memory; a daemon that goes closes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from rkllmd.gateway.web.websocket import WebSocketEndpoint
from tests.gateway.upstream.scripted import daemon
from tests.gateway.web.asking import Client


def connected(upstream: Any, *texts: str) -> Client:
    client = Client(WebSocketEndpoint(upstream), kind="websocket").give({"type": "websocket.connect"})
    for text in texts:
        client.give({"type": "websocket.receive", "text": text})
    return client


async def test_a_message_is_a_line_however_it_is_written(tmp_path: Path) -> None:
    async with daemon(tmp_path, lambda asked: [{"result": asked["method"]}]) as (_, upstream), trio.open_nursery() as n:
        client = connected(upstream, '{\n"id": 1,\r\n"method": "a"}', '{"id": 2, "method": "b"}')
        client.give({"type": "websocket.receive", "bytes": b'{"id": 3, "method": "c"}'})
        n.start_soon(client.ask)
        await client.wait_for(lambda: len(client.sent) == 4)
        client.hang_up()
    assert [message["type"] for message in client.sent] == ["websocket.accept", *["websocket.send"] * 3]
    assert ['"result":"a"' in client.sent[1]["text"], '"result":"c"' in client.sent[3]["text"]] == [True, True]


async def test_who_does_not_read_is_not_read_for(tmp_path: Path) -> None:
    many = [{"result": "x" * 10_000}] * 2000
    async with daemon(tmp_path, lambda asked: many) as (scripted, upstream), trio.open_nursery() as nursery:
        client = connected(upstream, '{"id": 1, "method": "a"}')
        reads = trio.Event()
        took = client.send

        async def send(message: Any) -> None:
            if message["type"] == "websocket.send":
                await reads.wait()
            await took(message)

        client.send = send  # type: ignore[method-assign] # it waits before it takes one
        nursery.start_soon(client.ask)
        await wait_all_tasks_blocked()
        assert scripted.answered < len(many) / 4, "the daemon waits, and would drop it in the end"
        client.hang_up()
        await wait_all_tasks_blocked()
    assert scripted.gone == 1


async def test_a_daemon_that_goes_closes_it(tmp_path: Path) -> None:
    async with daemon(tmp_path, lambda asked: None) as (_, upstream):
        client = connected(upstream, '{"id": 1, "method": "a"}')
        await client.ask()
    assert (client.sent[-1]["type"], client.sent[-1]["code"]) == ("websocket.close", 1012)


async def test_without_a_daemon_it_is_refused(tmp_path: Path) -> None:
    async with daemon(tmp_path, lambda asked: None) as (_, upstream):
        upstream.socket = str(tmp_path / "nobody.sock")
        client = connected(upstream)
        await client.ask()
    assert (client.sent[0]["type"], client.sent[0]["status"]) == ("websocket.http.response.start", 503)

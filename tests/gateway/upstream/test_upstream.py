"""Connections are kept for the next request, and models are known, exactly as long as that is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rkllmd.gateway.failures import Failure
from tests.gateway.statuses import known
from tests.gateway.upstream.scripted import daemon


async def test_a_connection_serves_the_next_request_too(tmp_path: Path) -> None:
    async with daemon(tmp_path, lambda asked: [{"result": asked["method"]}]) as (scripted, upstream):
        for _ in range(3):
            async with upstream.connection() as connection:
                assert await connection.call("server.queue") == "server.queue"
        async with upstream.connection() as first, upstream.connection() as second:
            assert (await first.call("a"), await second.call("b")) == ("a", "b")
    assert scripted.asked == [["server.queue"] * 3 + ["a"], ["b"]]


async def test_one_that_is_left_before_its_answer_is_closed(tmp_path: Path) -> None:
    partial = {"result": {"text": "a", "_callback_state": 0}}
    async with daemon(tmp_path, lambda asked: [partial]) as (scripted, upstream):
        async with upstream.connection() as connection:
            await connection.begin("rkllm.run_async")
            assert len(await connection.receive()) == 1
        await scripted.somebody_left.wait()
        async with upstream.connection() as connection:
            await connection.begin("rkllm.run_async")
            await connection.receive()
    assert len(scripted.asked) == 2


async def test_one_that_the_daemon_has_closed_is_not_used_again(tmp_path: Path) -> None:
    async with daemon(tmp_path, lambda asked: [{"result": 1}]) as (scripted, upstream):
        async with upstream.connection() as connection:
            await connection.call("a")
        await wait_all_tasks_blocked()
        scripted.end()
        await wait_all_tasks_blocked()
        async with upstream.connection() as connection:
            assert await connection.call("b") == 1
    assert scripted.asked == [["a"], ["b"]]


async def test_the_model_is_asked_for_once_while_the_daemon_says_of_changes(tmp_path: Path) -> None:
    def script(asked: dict[str, Any]) -> list[dict[str, Any]]:
        if asked["method"] == "server.watch":
            event = {"event": "models", **known(3)}
            return [{"result": {"watching": ["models"]}}, {"id": None, "method": "server.event", "params": event}]
        return [{"result": known(3)}]

    async with daemon(tmp_path, script) as (scripted, upstream), trio.open_nursery() as nursery:
        nursery.start_soon(upstream.watch)
        await wait_all_tasks_blocked()
        while upstream.known is None:
            await trio.lowlevel.checkpoint()
        for _ in range(3):
            async with upstream.connection() as connection:
                assert (await upstream.model(connection, "demo")).handle == 3
                with pytest.raises(Failure):
                    await upstream.model(connection, "other")
        nursery.cancel_scope.cancel()
    # Of a connection it is not known at first to which daemon it goes; what is not known may have come this moment.
    assert scripted.asked[1] == ["server.status"] * 4


async def test_what_another_daemon_has_said_does_not_count(tmp_path: Path) -> None:
    async with daemon(tmp_path, lambda asked: [{"result": known(4, pid=8)}]) as (_, upstream):
        upstream.known = known(3, pid=7)
        async with upstream.connection() as connection:
            assert (await upstream.model(connection, None)).handle == 4
            assert (await upstream.model(connection, None)).handle == 4

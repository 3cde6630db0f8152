"""A connection whose daemon leaves says what is known of that."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rkllmd.client import CallError, ConnectionLost, Crashed
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.upstream.connection import Connection
from rkllmd.gateway.upstream.wire import Wire
from tests.gateway.upstream.scripted import daemon


async def test_the_daemons_last_words_are_the_error(tmp_path: Path) -> None:
    farewell = {"id": None, "error": {"code": -32014, "message": "Wait.", "data": {"kind": "Restarting"}}}

    def script(asked: dict[str, Any]) -> list[dict[str, Any]] | None:
        return [farewell] if asked["method"] == "a" else None

    async with daemon(tmp_path, script) as (_, upstream), upstream.connection() as connection:
        await connection.begin("a")
        await connection.begin("b")
        with pytest.raises(CallError) as said:
            await connection.receive()
    assert said.value.kind == "Restarting"


async def test_without_a_word_it_has_crashed(tmp_path: Path) -> None:
    async with daemon(tmp_path, lambda asked: None) as (_, upstream), upstream.connection() as connection:
        with pytest.raises(Crashed):
            await connection.call("rkllm.run_async")


async def test_what_nobody_has_read_has_not_begun() -> None:
    ours, theirs = socket.socketpair()
    connection = Connection(Wire(ours))
    await connection.begin("rkllm.run_async")
    theirs.close()
    with pytest.raises(ConnectionLost):
        await connection.receive()
    connection.close()


async def test_of_several_requests_it_is_not_known_which_was_read() -> None:
    ours, theirs = socket.socketpair()
    connection = Connection(Wire(ours))
    await connection.begin("rkllm.run_async")
    theirs.recv(1 << 16)
    await connection.begin("server.queue")
    theirs.close()
    with pytest.raises(Crashed):
        await connection.receive()
    connection.close()


def at_the_end(running: bool, waiting: bool) -> Any:
    """Return what a daemon answers that says where a call stands, and nothing else of it."""

    def script(asked: dict[str, Any]) -> list[dict[str, Any]]:
        if asked["method"] != "server.queue":
            return [{"result": {"text": "a", "_callback_state": 0, "seq": 0}}]
        return [{"result": {"running": [{"own": running}], "queue": [{"own": False}, {"own": waiting}]}}]

    return script


@pytest.mark.parametrize(
    ("running", "waiting", "status"), [(False, True, 503), (True, False, 502), (True, True, 502), (False, False, 502)]
)
async def test_at_the_end_of_the_gateway_it_says_whether_the_call_had_begun(
    tmp_path: Path, running: bool, waiting: bool, status: int
) -> None:
    async with daemon(tmp_path, at_the_end(running, waiting)) as (_, upstream), upstream.connection() as connection:
        await connection.begin("rkllm.run_async")
        await connection.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upstream.end)
            with pytest.raises(Failure) as told:
                await connection.receive()
        assert (told.value.status, told.value.kind) == (status, "ShuttingDown")


async def test_at_the_end_of_the_gateway_a_daemon_that_says_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rkllmd.gateway.upstream.connection._QUEUE_SECONDS", 0.01)
    async with daemon(tmp_path, lambda asked: []) as (_, upstream), upstream.connection() as connection:
        await connection.begin("rkllm.run_async")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upstream.end)
            with pytest.raises(Failure) as told:
                await connection.receive()
        assert told.value.status == 502


async def test_what_is_first_asked_when_the_gateway_has_ended_has_not_begun(tmp_path: Path) -> None:
    async with daemon(tmp_path, lambda asked: []) as (scripted, upstream), upstream.connection() as connection:
        await connection.end()
        with pytest.raises(Failure) as told:
            await connection.begin("rkllm.run_async")
        assert (told.value.status, told.value.kind) == (503, "ShuttingDown")
    assert not any(scripted.asked)


async def test_what_is_answered_is_not_taken_back_by_the_end_of_the_gateway(tmp_path: Path) -> None:
    script = at_the_end(running=False, waiting=False)
    async with daemon(tmp_path, script) as (_, upstream), upstream.connection() as connection, trio.open_nursery() as n:
        await connection.begin("server.queue")
        n.start_soon(connection.end)
        await wait_all_tasks_blocked()
        assert len(await connection.receive()) == 2
        n.cancel_scope.cancel()

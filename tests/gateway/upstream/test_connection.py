"""A connection whose daemon leaves says what is known of that."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from rkllmd.client import CallError, ConnectionLost, Crashed
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

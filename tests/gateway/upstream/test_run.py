"""A run learns anew which model is meant where that has been replaced, once, and never after it has begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.run import Wanted
from rkllmd.gateway.upstream.run import Run
from tests.gateway.statuses import known
from tests.gateway.upstream.scripted import daemon

GONE = {"code": -32005, "message": "There is no llm.", "data": {"kind": "InvalidHandle"}}
PARTIAL = {"result": {"text": "a", "_callback_state": 0}}
FINAL = {"result": {"text": "ab", "_callback_state": 2, "finish_reason": "stop"}}


async def test_a_model_that_was_replaced(tmp_path: Path) -> None:
    def script(asked: dict[str, Any]) -> list[dict[str, Any]]:
        if asked["method"] == "server.status":
            return [{"result": known(3)}]
        return [FINAL] if asked["params"] == {"handle": 3, "prompt": "Hi"} else [{"error": GONE}]

    async with daemon(tmp_path, script) as (scripted, upstream), upstream.connection() as connection:
        upstream.known = known(2)
        connection.daemon = 7
        model, result = await Run(upstream, connection, Wanted("demo", {"prompt": "Hi"})).whole()
        assert (model.handle, result) == (3, FINAL["result"])
    assert scripted.asked == [["rkllm.run_async", "server.status", "rkllm.run_async"]]


async def test_one_that_goes_again_is_the_error(tmp_path: Path) -> None:
    def script(asked: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"result": known(2)}] if asked["method"] == "server.status" else [{"error": GONE}]

    async with daemon(tmp_path, script) as (_, upstream), upstream.connection() as connection:
        with pytest.raises(Failure, match="There is no llm"):
            await Run(upstream, connection, Wanted(None)).whole()


async def test_nothing_that_has_come_is_lost_and_nothing_is_begun_anew(tmp_path: Path) -> None:
    def script(asked: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"result": known(2)}] if asked["method"] == "server.status" else [PARTIAL, {"error": GONE}]

    async with daemon(tmp_path, script) as (scripted, upstream), upstream.connection() as connection:
        run = Run(upstream, connection, Wanted(None))
        await run.begin()
        results = await run.results()  # both may have come in one piece
        with pytest.raises(Failure):
            await run.results()
    assert results == [PARTIAL["result"]]
    assert scripted.asked == [["server.status", "rkllm.run_async"]]


async def test_where_it_stands_comes_beside_its_results(tmp_path: Path) -> None:
    def script(asked: dict[str, Any]) -> list[dict[str, Any]]:
        answers: dict[str, list[dict[str, Any]]] = {
            "server.status": [{"result": known(2)}],
            "server.queue": [{"result": {"queue": [], "length": 0}}],
        }
        return answers.get(asked["method"], [])

    async with daemon(tmp_path, script) as (_, upstream), upstream.connection() as connection:
        run = Run(upstream, connection, Wanted(None))
        await run.begin()
        await run.ask_queue()
        assert await run.results() == []
        assert run.queue == {"queue": [], "length": 0}
        assert not run.is_done

"""A connection whose daemon leaves says what is known of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rkllmd.client import CallError, Crashed
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

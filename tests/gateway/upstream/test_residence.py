"""A model is loaded or unloaded without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.run import Residence
from rkllmd.gateway.upstream.residence import Move
from tests.gateway import statuses
from tests.gateway.upstream.scripted import daemon

STATUS = statuses.status((3, "a", "/m/a.gguf"), (4, "b", "/m/b.gguf"), declared=("a", "b", "c"), asleep=(4,))


def answers(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the daemon answers, to what it may be asked."""
    given = {
        "server.status": (None, STATUS),
        "server.watch": (asked.get("params"), {}),
        "server.submit": ({"method": "rkllm.init", "params": {"model_path": "c"}}, {"job": "j"}),
        "server.job": ({"job": "j", "forget": True}, {"status": "completed", "result": {"handle": 5}}),
        "rkllm.destroy": ({"handle": 3}, {"success": True}),
    }
    params, result = given[asked["method"]]
    assert asked.get("params") == params
    return [{"result": result}]


@pytest.mark.parametrize(
    ("name", "residence", "asked"),
    [
        ("a", Residence.UNLOADED, ["rkllm.destroy"]),
        ("a:latest", Residence.LOADED, []),
        ("b", Residence.UNLOADED, []),
        ("b", Residence.LOADED, []),
        ("c", Residence.UNLOADED, []),
        ("c", Residence.LOADED, ["server.submit", "server.job"]),
    ],
)
async def test_what_is_to_be_done_is_done(tmp_path: Path, name: str, residence: Residence, asked: list[str]) -> None:
    async with daemon(tmp_path, answers) as (scripted, upstream), upstream.connection() as connection:
        model, result = await Move(connection, name, residence).whole()
        assert model.name == name.removesuffix(":latest")
        assert result == {"text": "", "finish_reason": residence.value}
    # It watches until it has seen the end, which nobody waits to be told of.
    assert [[item for item in found if item != "server.watch"] for found in scripted.asked] == [
        ["server.status", *asked]
    ]


@pytest.mark.parametrize(("swap", "submitted"), [(True, 1), (False, 0)])
async def test_one_that_sleeps_is_woken_if_it_may_be_swapped_in(tmp_path: Path, *, swap: bool, submitted: int) -> None:
    asleep = statuses.status((4, "c", "/m/c.gguf"), declared=("c",), asleep=(4,), swap=swap)

    def script(asked: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"result": asleep}] if asked["method"] == "server.status" else answers(asked)

    async with daemon(tmp_path, script) as (scripted, upstream), upstream.connection() as connection:
        await Move(connection, "c", Residence.LOADED).whole()
    assert scripted.asked[0].count("server.submit") == submitted


async def test_another_model_is_not_there(tmp_path: Path) -> None:
    async with daemon(tmp_path, answers) as (_, upstream), upstream.connection() as connection:
        with pytest.raises(Failure, match="There is no model d: there are a, b, c"):
            await Move(connection, "d", Residence.LOADED).whole()

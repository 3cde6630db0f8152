"""A model is loaded for the run that names it, as a job, and then the run begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rkllmd.client import CallError
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.run import Wanted
from rkllmd.gateway.upstream.run import Run
from tests.gateway import statuses
from tests.gateway.upstream.scripted import daemon

FINAL = {"result": {"text": "ab", "_callback_state": 2, "finish_reason": "stop"}}
EVENT = {"id": None, "method": "server.event", "params": {"event": "job", "job": "j", "status": "completed"}}
OTHER = {"id": None, "method": "server.event", "params": {"event": "job", "job": "other", "status": "completed"}}
BEGUN = ["server.status", "server.watch", "server.submit", "server.job"]


class Scripted:
    """A daemon that is asked for the load's result until that is ``ended``; it has the model once it was told so."""

    def __init__(self, ended: dict[str, Any]) -> None:
        self.ended = ended
        self.loaded = False
        self.jobs = 0

    def __call__(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the messages for a request."""
        method = asked["method"]
        if method == "server.status":
            found = [(3, "large", "/m/large.gguf")] if self.loaded else []
            return [{"result": statuses.status(*found, declared=("large",), swap=True)}]
        if method == "server.watch":
            return [{"result": {"watching": asked["params"]["events"]}}]
        if method == "server.submit":
            assert asked["params"] == {"method": "rkllm.init", "params": {"model_path": "large"}}
            return [{"result": {"status": "queued", "job": "j"}}]
        if method == "server.job":
            self.jobs += 1
            if self.jobs == 1:
                return [{"result": {"status": "processing"}}, OTHER, EVENT]
            self.loaded = True
            return [{"result": self.ended}]
        return [FINAL] if asked["params"] == {"handle": 3, "prompt": "Hi"} else [{"error": {"code": 1, "message": "?"}}]


async def test_a_model_is_loaded_before_the_run(tmp_path: Path) -> None:
    script = Scripted({"status": "completed", "result": {"handle": 3}})
    async with daemon(tmp_path, script) as (scripted, upstream), upstream.connection() as connection:
        model, result = await Run(upstream, connection, Wanted("large", {"prompt": "Hi"})).whole()
        assert (model.name, result) == ("large", FINAL["result"])
    assert scripted.asked == [[*BEGUN, "server.job", "server.watch", "server.status", "rkllm.run_async"]]


async def test_an_end_that_is_told_while_it_is_asked_for_is_asked_for_once(tmp_path: Path) -> None:
    script = Scripted({"status": "not_found"})

    def answers(asked: dict[str, Any]) -> list[dict[str, Any]]:
        if asked["method"] != "server.job" or script.loaded:
            return script(asked)
        script.loaded = True
        return [EVENT, {"result": {"status": "completed", "result": {"handle": 3}}}]

    async with daemon(tmp_path, answers) as (scripted, upstream), upstream.connection() as connection:
        await Run(upstream, connection, Wanted("large", {"prompt": "Hi"})).whole()
    assert scripted.asked[0].count("server.job") == 1


@pytest.mark.parametrize(
    ("ended", "error", "says"),
    [
        ({"status": "error", "error": {"code": -32006, "message": "It does not fit."}}, CallError, "does not fit"),
        ({"status": "not_found"}, Failure, "ask again"),
    ],
)
async def test_a_load_that_fails_is_the_error_of_the_run(
    tmp_path: Path, ended: dict[str, Any], error: type[Exception], says: str
) -> None:
    async with daemon(tmp_path, Scripted(ended)) as (_, upstream), upstream.connection() as connection:
        with pytest.raises(error, match=says):
            await Run(upstream, connection, Wanted("large", {"prompt": "Hi"})).whole()

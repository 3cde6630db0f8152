"""A client of a stream is told where it stands; the clock jumps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import trio
from trio.testing import MockClock

from rkllmd.gateway.ollama.run_answer import CHAT as OLLAMA_CHAT
from rkllmd.gateway.openai.chat import CHAT
from rkllmd.gateway.web.runs import RunEndpoint
from tests.gateway.statuses import TWO
from tests.gateway.upstream.scripted import daemon
from tests.gateway.web.asking import Client

HELLO = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
PARTIAL = {"result": {"text": "a", "_callback_state": 0}}
FINAL = {"result": {"text": "", "_callback_state": 2, "finish_reason": "stop"}}
STOPPED = {"code": -32002, "message": "It broke.", "data": {"kind": "RuntimeError"}}
WAITING = {"own": True, "position": 1, "estimated_wait_ms": 12400.0}
READING = {"own": True, "elapsed_ms": 4000.0, "progress": {"expected_first_token_ms": 9000.0}}


def script(run: list[dict[str, Any]], **queue: list[Any]) -> Any:
    """Return a daemon's script: what comes of a run at once, and its queue."""
    shown = {"queue": [], "running": [], "length": 3, **queue}

    def answer(asked: dict[str, Any]) -> list[dict[str, Any]]:
        return {"server.status": [{"result": TWO}], "server.queue": [{"result": shown}]}.get(asked["method"], run)

    return answer


@pytest.mark.parametrize(
    ("queue", "said"),
    [
        ({"queue": [WAITING]}, ": queued, position 2 of 3, about 12 s"),
        ({"running": [READING]}, ": reading the prompt, 4 s of about 9 s"),
    ],
)
async def test_comments_say_where_a_request_stands(
    tmp_path: Path, autojump_clock: MockClock, queue: dict[str, list[Any]], said: str
) -> None:
    async with daemon(tmp_path, script([], **queue)) as (scripted, upstream), trio.open_nursery() as nursery:
        client = Client(RunEndpoint(upstream, CHAT), HELLO)
        nursery.start_soon(client.ask)
        await client.wait_for(lambda: client.text.count(said) == 3)
        assert 15 <= trio.current_time() - 0 < 17
        client.hang_up()
    assert scripted.gone == 1, "its run is cancelled by that"
    lines = [line for line in client.text.splitlines() if line]
    assert lines[1:] == [said] * 3
    assert lines[0].startswith("data: "), "the role"


async def test_one_that_has_begun_is_told_so_and_lines_of_json_stay_such(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with daemon(tmp_path, script([PARTIAL])) as (_, upstream), trio.open_nursery() as nursery:
        events, lines = (Client(RunEndpoint(upstream, protocol), HELLO) for protocol in (CHAT, OLLAMA_CHAT))
        for client in (events, lines):
            nursery.start_soon(client.ask)
        await events.wait_for(lambda: ": generating" in events.text)
        await lines.wait_for(lambda: lines.text.count("\n") == 2)
        events.hang_up()
        lines.hang_up()
    assert [orjson.loads(line)["message"]["content"] for line in lines.text.splitlines()] == ["a", ""]


@pytest.mark.parametrize(("run", "status"), [([{"error": STOPPED}], 500), ([PARTIAL, {"error": STOPPED}], 200)])
async def test_an_error_is_the_status_before_and_an_event_after_the_first_token(
    tmp_path: Path, run: list[dict[str, Any]], status: int
) -> None:
    async with daemon(tmp_path, script(run)) as (_, upstream):
        client = Client(RunEndpoint(upstream, CHAT), HELLO)
        await client.ask()
    assert client.sent[0]["status"] == status
    assert client.text.count("It broke.") == 1
    assert client.text.endswith("data: [DONE]\n\n") is (status == 200)


async def test_what_came_together_is_sent_together(tmp_path: Path) -> None:
    async with daemon(tmp_path, script([PARTIAL, PARTIAL, FINAL])) as (_, upstream):
        client = Client(RunEndpoint(upstream, CHAT), HELLO)
        await client.ask()
    events = [line.removeprefix("data: ") for line in client.text.splitlines() if line]
    said = [orjson.loads(event)["choices"][0]["delta"].get("content") for event in events[:-1]]
    assert said == ["", "a", "a", None]
    assert events[-1] == "[DONE]"


async def test_a_model_that_is_replaced_while_its_client_waits(tmp_path: Path, autojump_clock: MockClock) -> None:
    gone = {"error": {"code": -32005, "message": "There is no llm.", "data": {"kind": "InvalidHandle"}}}
    runs: list[int] = []

    def answer(asked: dict[str, Any]) -> list[dict[str, Any]]:
        if asked["method"] == "server.queue":  # its turn has come meanwhile
            return [{"id": runs[0], **gone}]
        if asked["method"] == "server.status":
            return [{"result": TWO}]
        runs.append(asked["id"])
        return [] if len(runs) == 1 else [PARTIAL, FINAL]

    async with daemon(tmp_path, answer) as (_, upstream):
        client = Client(RunEndpoint(upstream, CHAT), HELLO)
        await client.ask()
    assert len(runs) == 2
    assert client.text.endswith("data: [DONE]\n\n")
    assert "There is no llm" not in client.text


async def test_the_gateway_ends_while_the_daemon_is_started_again(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rkllmd.gateway.web.runs._KEEP_ALIVE_SECONDS", 0.1)
    is_asked_again = trio.Event()

    def answer(asked: dict[str, Any]) -> list[dict[str, Any]]:
        if not client.sent:
            return [{"result": TWO}] if asked["method"] == "server.status" else []
        if asked["method"] == "server.status":
            is_asked_again.set()
        return []

    async with daemon(tmp_path, answer) as (scripted, upstream), trio.open_nursery() as nursery:
        client = Client(RunEndpoint(upstream, CHAT), HELLO)
        nursery.start_soon(client.ask)
        await client.wait_for(lambda: bool(client.sent))
        scripted.end()
        await is_asked_again.wait()
        await upstream.end()
    *_, error, done = filter(None, client.text.splitlines())
    assert (orjson.loads(error.removeprefix("data: "))["error"]["code"], done) == ("ShuttingDown", "data: [DONE]")

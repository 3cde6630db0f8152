"""What whoever starts the gateway is told, and how it ends."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.web.serving import look_for_daemon
from tests.daemon import ENDLESS, Start, until
from tests.gateway.process import running
from tests.gateway.upstream.scripted import daemon

HELLO = {"messages": [{"role": "user", "content": "Hello"}], "stream": True}


async def test_that_no_daemon_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.sock"
    await look_for_daemon(Upstream(str(path)))
    said = capsys.readouterr().err
    assert said.startswith(f"No daemon serves {path}: start one with 'rkllmd serve', or name its socket with --socket.")


async def test_nothing_where_one_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with daemon(tmp_path, lambda asked: []) as (_, upstream):
        await look_for_daemon(upstream)
    assert capsys.readouterr().err == ""


def test_who_is_answered_has_time_until_it_is_asked_again(start: Start, tmp_path: Path) -> None:
    daemon = start(scenario=ENDLESS)
    daemon.load(max_new_tokens=-1)
    command = ["gateway", "--socket", daemon.path, "--listen", "127.0.0.1:0", "--grace", "600"]
    with running(command, tmp_path / "log") as (process, line):
        address = line.split()[-1]
        with (
            httpx.Client(base_url=address, timeout=60) as http,
            http.stream("POST", "/v1/chat/completions", json=HELLO) as answer,
        ):
            pieces = answer.iter_raw()
            assert next(pieces)
            process.send_signal(signal.SIGTERM)
            until("nobody else is let in", lambda: _is_closed(address))
            assert next(pieces), "it goes on"
            process.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.RemoteProtocolError):
                list(pieces)
        assert process.wait(60) == 0
    daemon.wait_finished(1)


def test_who_is_not_answered_in_time_is_told_whether_the_call_had_begun(start: Start, tmp_path: Path) -> None:
    daemon = start(scenario={"text": "a", "repeat": 1_000_000, "pace_us": 50_000})
    daemon.load(max_new_tokens=-1)
    command = ["gateway", "--socket", daemon.path, "--listen", "127.0.0.1:0", "--grace", "0"]
    whole = {"messages": HELLO["messages"]}
    with (
        running(command, tmp_path / "log") as (process, line),
        ThreadPoolExecutor() as threads,
        httpx.Client(base_url=line.split()[-1], timeout=60) as http,
        daemon.connect() as looking,
        http.stream("POST", "/v1/chat/completions", json=HELLO) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines)
        waiting = threads.submit(http.post, "/v1/chat/completions", json=whole)
        until("it waits", lambda: bool(looking.ask("server.queue")["result"]["length"]))
        process.send_signal(signal.SIGTERM)
        *_, error, done = filter(None, lines)
        assert (json.loads(error.removeprefix("data: "))["error"]["code"], done) == ("ShuttingDown", "data: [DONE]")
        refused = waiting.result()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "ShuttingDown")
        assert process.wait(60) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def _is_closed(address: str) -> bool:
    try:
        httpx.get(f"{address}/health")
    except httpx.ConnectError:
        return True
    return False

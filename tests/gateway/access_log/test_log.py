"""Each request has its line, which says who asked for what, and has no word of what was said."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from trio_websocket import open_websocket_url

from rkllmd.client import CallTimeout
from rkllmd.gateway.access_log import record
from rkllmd.gateway.access_log.log import AccessLog
from rkllmd.gateway.web.answers import answer_failure, answer_json
from tests.bench.gateway.http_client import HttpClient
from tests.daemon import ENDLESS, Start, until
from tests.gateway.process import gateway
from tests.gateway.web.asking import Client

TOKENS = 5
CHAT = "/v1/chat/completions"
ASKED = {"method": "POST", "path": CHAT}
HELLO = {"messages": [{"role": "user", "content": "my secret"}], "stream": True}
KEY = {"authorization": "Bearer key-of-the-kitchen"}


class Lines:
    """What is written to a log, line by line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def named(self, event: str = "request") -> list[dict[str, Any]]:
        """Return the lines of an event."""
        found = [orjson.loads(line) for line in self._path.read_text().splitlines() if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def number(self, count: int) -> dict[str, Any]:
        """Return what a request, the how many-th, is said to be, without what is different each time."""
        until("it has ended", lambda: len(self.named()) >= count)
        line = self.named()[count - 1]
        assert line.pop("ms") >= 0
        assert line.pop("timestamp").endswith("Z")
        return {name: value for name, value in line.items() if name not in ("event", "level", "address")}


@contextmanager
def logging(folder: Path) -> Iterator[tuple[AccessLog, Lines]]:
    """Yield an access log, and what it writes."""
    path = folder / "log"
    with path.open("wb") as file:
        yield AccessLog(file.fileno()), Lines(path)


def answering(status: int, **noted: Any) -> ASGIApp:
    """Return an application that answers so, and notes this of the request."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in noted.items():
            setattr(record.current(), name, value)
        await answer_json({}, status)(scope, receive, send)

    return app


@pytest.mark.parametrize(
    ("path", "status", "has_line"),
    [
        ("/health", 200, False),
        ("/health", 503, True),
        ("/ready", 200, False),
        ("/metrics", 200, False),
        ("/", 200, True),
    ],
)
async def test_what_machines_ask_all_the_time_is_left_out(
    tmp_path: Path, path: str, status: int, has_line: bool
) -> None:
    with logging(tmp_path) as (log, lines):
        await Client(log.around(answering(status)), {}, path=path).ask()
    assert len(lines.named()) == has_line


async def test_what_a_client_writes_does_nothing_to_a_terminal(tmp_path: Path) -> None:
    headers = [(b"x-forwarded-for", b"\xff" * 1000), (b"authorization", b"Bearer secret")]
    asked: Any = {"raw_path": b"/%1b[2J", "query_string": b"key=secret", "headers": headers}
    with logging(tmp_path) as (log, lines):
        await Client(log.around(answering(404, model="a\x1b\x9b[2J\n")), {}, **asked).ask()
    assert lines.number(1) == {
        "method": "POST",
        "path": "/%1b[2J",
        "status": 404,
        "forwarded_for": "\xff" * 200,
        "model": "a\\x1b\\x9b[2J\\n",
    }


async def test_a_failure_has_its_kind(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer_failure(CallTimeout("a", 1), lambda failure: {})(scope, receive, send)

    with logging(tmp_path) as (log, lines):
        await Client(log.around(app), {}).ask()
    assert lines.number(1) == {"method": "POST", "path": "/", "status": 504, "error": "Timeout"}


async def test_people_at_a_terminal_read_no_json(tmp_path: Path) -> None:
    main, terminal = os.openpty()
    try:
        log = AccessLog(terminal)
        await Client(log.around(answering(200, model="demo")), {}).ask()
        log.flush()
        shown = os.read(main, 1000).decode()
    finally:
        os.close(terminal)
        os.close(main)
    assert " request method=POST path=/ status=200 ms=" in shown
    assert shown.endswith(" model=demo\r\n")


async def test_who_hangs_up_is_named(tmp_path: Path) -> None:
    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})

    with logging(tmp_path) as (log, lines):
        await Client(log.around(never), {}).ask()
    assert lines.number(1) == {"method": "POST", "path": "/", "status": 200, "ended": "hung up"}


async def test_lines_that_nobody_reads_keep_nobody_waiting(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    app = AccessLog(writer).around(answering(200))
    for _ in range(20_000):
        await Client(app, {}).ask()
    os.close(reader)


def test_the_gateway_says_who_asked_what(start: Start, tmp_path: Path) -> None:
    daemon = start(scenario={"text": "a", "repeat": TOKENS})
    daemon.load(max_new_tokens=0)
    keys = tmp_path / "keys"
    keys.write_text(hashlib.sha256(b"key-of-the-kitchen").hexdigest() + " kitchen\n")
    lines = Lines(tmp_path / "gateway.log")
    with gateway(daemon.path, tmp_path, "--api-keys", str(keys)) as address:
        with httpx.Client(base_url=address, timeout=60) as http:
            assert http.post(f"{CHAT}?a=b", json=HELLO, headers=KEY).status_code == 200
            whole = lines.number(1)
            assert http.post(CHAT, json=HELLO).status_code == 401
            refused = lines.number(2)
            call = {"jsonrpc": "2.0", "id": 1, "method": "server.ping"}
            assert http.post("/rpc", json=call, headers=KEY).status_code == 200
            called = lines.number(3)
        host, _, port = address.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port)), 60) as client:
            client.sendall(b"nonsense\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 400")
        until("it is told", lambda: len(lines.named("refused")) == 1)
    counted = whole.pop("prompt_tokens") > 0, whole.pop("cached_tokens"), whole.pop("generated_tokens")
    assert counted == (True, 0, TOKENS)
    assert whole == {**ASKED, "status": 200, "key": "kitchen", "model": "model"}
    assert refused == {**ASKED, "status": 401, "error": "PermissionDenied"}
    assert called == {"method": "POST", "path": "/rpc", "status": 200, "key": "kitchen", "call": "server.ping"}
    assert [line["address"] for line in lines.named("refused")] == ["127.0.0.1"]
    assert "secret" not in (tmp_path / "gateway.log").read_text()
    assert "key-of" not in (tmp_path / "gateway.log").read_text()


def test_how_a_request_has_ended_is_told(start: Start, tmp_path: Path) -> None:
    daemon = start(scenario=ENDLESS)
    daemon.load(max_new_tokens=-1)
    lines = Lines(tmp_path / "gateway.log")
    with gateway(daemon.path, tmp_path, "--grace", "0") as address:
        with HttpClient(address) as streamed:
            streamed.post(CHAT, HELLO)
            assert next(streamed.events())
        assert lines.number(1) == {**ASKED, "status": 200, "ended": "hung up", "model": "model"}
        begun = daemon.calls("rkllm_run_async")
        with HttpClient(address) as waiting:
            waiting.post(CHAT, {**HELLO, "stream": False})
            daemon.wait_enter("rkllm_run_async", begun + 1)
        assert lines.number(2) == {**ASKED, "ended": "hung up", "model": "model"}
        last = HttpClient(address)
        last.post(CHAT, HELLO)
        assert next(last.events())
    with last:
        assert lines.number(3) == {**ASKED, "status": 200, "error": "ShuttingDown", "model": "model"}


async def test_a_websocket_has_its_line_when_it_is_closed(start: Start, tmp_path: Path) -> None:
    with gateway(start().path, tmp_path) as address:
        async with open_websocket_url(f"{address.replace('http', 'ws')}/ws") as client:
            await client.send_message('{"jsonrpc": "2.0", "id": 1, "method": "server.ping"}')
            assert await client.get_message()
            assert Lines(tmp_path / "gateway.log").named() == []
        shown = Lines(tmp_path / "gateway.log").number(1)
    assert shown == {"method": "GET", "path": "/ws", "status": 101}


def test_a_stream_that_fails_has_the_kind_of_its_error(start: Start, tmp_path: Path) -> None:
    daemon = start(scenario=ENDLESS)
    daemon.load(max_new_tokens=-1)
    lines = Lines(tmp_path / "gateway.log")
    with gateway(daemon.path, tmp_path) as address, HttpClient(address) as client, daemon.connect() as wire:
        client.post(CHAT, HELLO)
        events = client.events()
        assert next(events)
        wire.ask("rkllm.abort", {})
        assert b'"error"' in list(events)[-1]
        found = lines.number(1)
    assert (found["status"], found["error"]) == (200, "Cancelled")
    assert found["generated_tokens"] > 0, "the NPU has made them"


def test_it_may_be_left_out(start: Start, tmp_path: Path) -> None:
    with gateway(start().path, tmp_path, "--no-access-log") as address:
        assert httpx.get(f"{address}/v1/models").status_code == 200
    assert Lines(tmp_path / "gateway.log").named() == []

"""What a host sends over stdin is answered whatever it is, and when the host has gone, all has ended."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import trio

from tests.daemon import Daemon
from tests.nursery import forking

HELLO: dict[str, Any] = {
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}},
}
# With progress, so that there is something to write.
ASKED: dict[str, Any] = {"name": "generate", "arguments": {"prompt": "Hi"}, "_meta": {"progressToken": 1}}
CALL: dict[str, Any] = {"method": "tools/call", "params": ASKED}


def _close_stdin(process: forking.Forked, stdin: IO[bytes]) -> None:
    stdin.close()


def _close_stdout(process: forking.Forked, stdin: IO[bytes]) -> None:
    assert process.stdout is not None
    process.stdout.close()


def _interrupt(process: forking.Forked, stdin: IO[bytes]) -> None:
    process.send_signal(signal.SIGINT)


@pytest.mark.parametrize(("leave", "status"), [(_close_stdin, 0), (_close_stdout, 0), (_interrupt, -signal.SIGINT)])
def test_a_run_ends_with_its_host(
    endless: Daemon, tmp_path: Path, leave: Callable[[forking.Forked, IO[bytes]], None], status: int
) -> None:
    begun, ended = (endless.calls("rkllm_run_async", event) for event in ("enter", "finished"))
    nursery = forking.find(os.environ)
    assert nursery is not None
    reader, writer = os.pipe()
    with open(reader, "rb") as given, (tmp_path / "log").open("wb") as log:
        process = nursery.fork(["mcp", "--socket", endless.path], os.environ, log, given)
    assert process.stdout is not None
    with process.stdout, open(writer, "wb", buffering=0) as stdin:
        for number, message in enumerate((HELLO, {"method": "notifications/initialized"}, CALL)):
            asked = {"jsonrpc": "2.0", **message}
            stdin.write(json.dumps({**asked, "id": number} if "params" in message else asked).encode() + b"\n")
        endless.wait_enter("rkllm_run_async", begun + 1)
        leave(process, stdin)
        assert process.wait(60) == status
    endless.wait_finished(ended + 1)
    assert (tmp_path / "log").read_text() == ""


Host = tuple[IO[bytes], IO[bytes]]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Return the host's end of stdin and of stdout, as files."""
    from rkllmd.gateway.mcp import over_stdio

    given, asking = os.pipe()
    answering, taking = os.pipe()
    monkeypatch.setattr(over_stdio, "_STDIN", given)
    monkeypatch.setattr(over_stdio, "_STDOUT", taking)
    with open(asking, "wb", buffering=0) as stdin, open(answering, "rb", buffering=0) as stdout:
        yield stdin, stdout
    os.close(given)
    os.close(taking)


async def _taken(host: Host, sent: bytes) -> list[str]:
    """Return the lines that become messages of what a host sends."""
    from rkllmd.gateway.mcp import over_stdio

    stdin, _ = host
    found: list[str] = []
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                await trio.to_thread.run_sync(stdin.write, sent)
                stdin.close()

            nursery.start_soon(send)
            found += [line async for line in over_stdio.Input(over_stdio.Output(scope))]
    return found


async def test_messages_come_line_by_line(host: Host) -> None:
    assert await _taken(host, b'{"a": 1}\n\n {"b": "\xc3\xa4"} \r\n{"c"') == ['{"a": 1}', '{"b": "ä"}']


@pytest.mark.parametrize(
    ("line", "code"),
    [(b"{", -32700), (b'{"a": "\\ud800"}', -32700), (b'{"a": 1e999}', -32700), (b"\xff", -32700), (b"[]", -32600)],
)
async def test_what_is_no_message_is_answered_and_left_out(host: Host, line: bytes, code: int) -> None:
    assert await _taken(host, line + b'\n{"a": 1}\n') == ['{"a": 1}']
    answer = json.loads(host[1].read(65_536))
    assert (answer["id"], answer["error"]["code"]) == (None, code)


async def test_a_message_that_is_too_long_is_answered_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    from rkllmd.gateway.mcp import over_stdio

    monkeypatch.setattr(over_stdio, "_MOST_BYTES", 1000)
    assert await _taken(host, b"x" * 300_000 + b'\n{"a": 1}\n') == ['{"a": 1}']
    assert json.loads(host[1].read(65_536))["error"]["code"] == -32600

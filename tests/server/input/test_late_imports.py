"""The first refusal of a daemon needs a module that is not there yet: only the client that is refused waits for it."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Start, until
from tests.wire_connection import Wire, kind

# jsonschema as ever, after the test has let its import go on.
_JSONSCHEMA = """
import sys
with open({gate!r}) as gate:
    gate.read()
sys.path.remove({directory!r})
del sys.modules["jsonschema"]
import jsonschema
"""
WRONG: dict[str, Any] = {"jsonrpc": "2.0", "id": "wrong", "method": "rkllm.init", "params": {"model_path": 1}}
PING: dict[str, Any] = {"jsonrpc": "2.0", "id": "ping", "method": "server.status"}
WAYS = {
    "in a line": (WRONG, PING),
    "in a batch": ([WRONG, PING],),
    "as the end of a batch": ([PING, WRONG],),
    "in a job": (
        {**WRONG, "method": "server.submit", "params": {"method": "rkllm.init", "params": {"model_path": 1}}},
        PING,
    ),
}


def _send(wire: Wire, *lines: Any) -> None:
    wire.send(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def _answers(wire: Wire, lines: int) -> list[Any]:
    """Return the answers to this many lines, as (id, kind of error)."""
    messages = [wire.receive() for _ in range(lines)]
    return [
        (item["id"], kind(item))
        for message in messages
        for item in (message if isinstance(message, list) else [message])
    ]


@pytest.mark.parametrize("lines", WAYS.values(), ids=WAYS)
def test_others_are_answered_while_a_refusal_waits_for_an_import(
    start: Start, tmp_path: Path, lines: tuple[Any, ...]
) -> None:
    directory, gate = tmp_path / "modules", tmp_path / "gate"
    os.mkfifo(gate)
    (directory / "jsonschema").mkdir(parents=True)
    text = _JSONSCHEMA.format(gate=str(gate), directory=str(directory))
    (directory / "jsonschema" / "__init__.py").write_text(text)
    daemon = start(environ={"PYTHONPATH": str(directory)}, cold=True)
    with daemon.connect() as refused, daemon.connect() as also_refused, daemon.connect() as other:
        _send(refused, *lines)
        opened: list[int] = []

        def has_begun() -> bool:
            with suppress(OSError):  # nobody reads it
                opened.append(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
            return bool(opened)

        until("the import has begun", has_begun)
        with os.fdopen(opened[0], "w"):
            assert other.ask("server.status")["result"]["models"] == []
            _send(also_refused, WRONG)
            assert kind(other.ask("rkllm.no_such_method")) == "MethodNotFound"
            assert kind(other.ask("rkllm.is_running", ["x"] * 9)) == "InvalidParams", "its reason is known without"
        found = _answers(refused, len(lines))
        assert sorted(found) == [("ping", None), ("wrong", "InvalidParams")]
        assert len(lines) == 1 or found[0][0] == "wrong", "answers of a client keep their order"
        assert _answers(also_refused, 1) == [("wrong", "InvalidParams")]
        _send(other, WRONG)
        assert _answers(other, 1) == [("wrong", "InvalidParams")]


def test_descriptors_of_what_is_refused_so_are_closed(start: Start, tmp_path: Path) -> None:
    daemon = start(cold=True)
    before = daemon.open_files()
    request = json.dumps({**WRONG, "method": "rknn.init", "params": {"model": 1}, "fds": 1}).encode() + b"\n"
    with daemon.connect() as wire, (tmp_path / "file").open("w") as file:
        socket.send_fds(wire.socket, [request], [file.fileno()])
        assert _answers(wire, 1) == [("wrong", "InvalidParams")]
        assert kind(wire.ask("server.status")) is None
        assert daemon.open_files() == before + 1, "the connection's own"

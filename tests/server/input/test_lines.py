"""Whatever line a client sends: it learns what is wrong, and the next good request is answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.daemon import Daemon
from tests.server.input.requests import assert_recovered, request
from tests.wire_connection import kind

MAX_LINE = 16 * 2**20


# -- lines

INVALID_LINES: dict[str, tuple[bytes, Any, int]] = {
    "no JSON": (b"hello", None, -32700),
    "half an object": (b'{"jsonrpc": "2.0", "id": 1', None, -32700),
    "invalid UTF-8": (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', None, -32700),
    "overlong UTF-8": (b'{"jsonrpc":"2.0","id":1,"method":"\xc0\xaf"}', None, -32700),
    "UTF-8 of a surrogate": (b'{"jsonrpc":"2.0","id":1,"method":"\xed\xa0\x80"}', None, -32700),
    "a lone surrogate": (b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', None, -32700),
    "BOM": (b"\xef\xbb\xbf" + request(), None, -32700),
    "UTF-16": (request().decode().encode("utf-16-le"), None, -32700),
    "NaN": (b'{"jsonrpc":"2.0","id":1,"method":"server.queue","x":NaN}', None, -32700),
    "a million brackets": (b"[" * 10**6, None, -32700),
    "a million open objects": (b'{"a":' * 10**6, None, -32700),
    "a number": (b"1", None, -32600),
    "a string": (b'"hello"', None, -32600),
    "an empty batch": (b"[]", None, -32600),
    "an empty object": (b"{}", None, -32600),
    "a batch too long": (b"[" + b",".join([request()] * 65) + b"]", None, -32600),
    "id 2^64": (request(id=2**64), None, -32600),
    "id -2^63-1": (request(id=-(2**63) - 1), None, -32600),
    "id 1.5": (request(id=1.5), None, -32600),
    "id true": (request(id=True), None, -32600),
    "id an array": (request(id=[1]), None, -32600),
    "id too long": (request(id="x" * 129), None, -32600),
    "no version": (b'{"id":1,"method":"server.queue"}', 1, -32600),
    "version 1.0": (request(jsonrpc="1.0"), 1, -32600),
    "version a number": (request(jsonrpc=2.0), 1, -32600),
    "method a number": (request(method=1), 1, -32600),
    "params false": (request(params=False), 1, -32600),
    "params a string": (request(params="x"), 1, -32600),
    "unknown method": (request(method="server.nothing"), 1, -32601),
    "a method of a megabyte": (request(method="x" * 2**20), 1, -32601),
    "a private module": (request(method="rkllm._common"), 1, -32601),
    "a method's case": (request(method="Server.Queue"), 1, -32601),
    "too many params": (request(params=[1]), 1, -32602),
    "unknown params": (request(params={"x": 1}), 1, -32602),
    "a descriptor that did not come": (request(fds=1), 1, -32602),
    "too many descriptors": (request(fds=17), 1, -32602),
    "descriptors a string": (request(fds="1"), 1, -32602),
    "a member of a megabyte": (request(fds="A" * 2**20), 1, -32602),
    "an id of a megabyte": (request(id="A" * 2**20), None, -32600),
    "a version of a megabyte": (request(jsonrpc="A" * 2**20), 1, -32600),
    "params a string of a megabyte": (request(params="A" * 2**20), 1, -32600),
    "a string of a megabyte": (json.dumps("A" * 2**20).encode(), None, -32600),
    "a broken line with a megabyte": (request(params={"x": "A" * 2**20}) + b"}", None, -32700),
}


@pytest.mark.parametrize("name", INVALID_LINES)
def test_a_wrong_line_gets_its_error_and_the_connection_goes_on(serving: Daemon, name: str) -> None:
    line, call_id, code = INVALID_LINES[name]
    with serving.connect() as wire:
        wire.send(line + b"\n")
        error = wire.receive()
        assert (error["id"], error["error"]["code"]) == (call_id, code)
        assert isinstance(error["error"]["data"]["kind"], str)
        assert len(json.dumps(error)) < 2000, "what a client sends is not echoed"
        assert_recovered(wire)


def test_all_wrong_lines_in_one_piece(serving: Daemon) -> None:
    with serving.connect() as wire:
        lines = [line for line, _, _ in INVALID_LINES.values() if len(line) < 100_000]
        wire.send(b"\n".join(lines) + b"\n")
        for line, call_id, code in INVALID_LINES.values():
            if len(line) < 100_000:
                error = wire.receive()
                assert (error["id"], error["error"]["code"]) == (call_id, code)
        assert_recovered(wire)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"\r",
        b"\t \r",
        b'{"jsonrpc":"2.0","result":1,"id":1}',
        b'{"jsonrpc":"2.0","method":"server.nothing"}',
        b'{"jsonrpc":"2.0","method":"rkllm.run","params":{"wrong":1}}',
    ],
)
def test_what_is_not_answered(serving: Daemon, line: bytes) -> None:
    with serving.connect() as wire:
        wire.send(line + b"\n")
        assert_recovered(wire)


def test_a_request_in_pieces_of_one_byte(serving: Daemon) -> None:
    with serving.connect() as wire:
        for byte in request() + b"\r\n":
            wire.send(bytes([byte]))
        assert wire.receive()["id"] == 1
        assert_recovered(wire)


# -- the longest line


def test_a_line_as_long_as_allowed_is_served(serving: Daemon) -> None:
    line = request(x="")
    with serving.connect() as wire:
        wire.send(line[:-2] + b"y" * (MAX_LINE - len(line)) + line[-2:] + b"\n")
        assert wire.receive()["id"] == 1
        assert_recovered(wire)


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["unfinished", "finished"])
def test_a_longer_line_ends_the_connection(serving: Daemon, end: bytes) -> None:
    with serving.connect() as wire:
        wire.send(request(id="before") + b"\n" + b"x" * (MAX_LINE + 1) + end)
        assert wire.receive()["id"] == "before"
        error = wire.receive()
        assert (error["id"], error["error"]["code"], kind(error)) == (None, -32600, "FrameTooLarge")
        assert error["error"]["data"]["limit"] == MAX_LINE
        assert wire.receive() is None, "a half-read line can't be resynchronised"
    with serving.connect() as wire:
        assert_recovered(wire)


def test_what_runs_is_answered_before_the_connection_ends(serving: Daemon) -> None:
    serving.load()
    with serving.connect() as wire:
        handles = [model["handle"] for model in wire.ask("server.status")["result"]["models"]]
        wire.request("rkllm.run", [handles[0], {"prompt_input": "Hello"}], "run")
        wire.send(b"x" * (MAX_LINE + 1))
        found = {message["id"]: kind(message) for message in wire.receive_all()}
        assert found == {"run": None, None: "FrameTooLarge"}
    with serving.connect() as wire:
        assert kind(wire.ask("rkllm.destroy", [handles[0]])) is None

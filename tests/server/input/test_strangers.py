"""Clients of other protocols on the real socket: what they see, and that nothing of theirs is executed."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import Any

import pytest

from rkllmd.wire.foreign import SPEAKS
from tests.daemon import Daemon, Start
from tests.wire_connection import ANSWER_SECONDS, kind

CLEAR = b'{"jsonrpc":"2.0","id":1,"method":"rkllm.clear_kv_cache"}'


@pytest.fixture(scope="module")
def serving(start_for_module: Start) -> Daemon:
    daemon = start_for_module()
    daemon.load()
    return daemon


def everything(daemon: Daemon, data: bytes) -> bytes:
    """Send and return all that comes up to the end, which the daemon makes: nothing is closed here."""
    with daemon.connect() as wire:
        wire.send(data)
        found = b""
        while piece := wire.socket.recv(1 << 16):
            found += piece
        return found


def detail(line: bytes) -> str:
    answer = json.loads(line)
    assert (answer["id"], kind(answer), answer["error"]["code"]) == (None, "ParseError", -32700)
    return str(answer["error"]["data"]["detail"])


class HttpConnection(http.client.HTTPConnection):
    """Speaks HTTP over a Unix socket, as ``curl --unix-socket`` does."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_SECONDS)
        self.sock.connect(self._path)


@pytest.mark.parametrize("size", [0, 100, 3_000_000])
def test_an_http_client_reads_why_and_its_body_is_not_executed(serving: Daemon, size: int) -> None:
    """A POST could come from anywhere, and each line of its body would be a request."""
    cleared = serving.calls("rkllm_clear_kv_cache")
    connection = HttpConnection(serving.path)
    connection.request("POST", "/rpc", CLEAR + b"\n" + b" " * size + b"\n", {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 400
    assert SPEAKS in detail(response.read())
    connection.close()
    assert serving.calls("rkllm_clear_kv_cache") == cleared
    assert serving.wait_event("foreign_protocol")[-1]["protocol"] == "HTTP"


def test_a_tls_client_is_not_left_waiting(serving: Daemon) -> None:
    with serving.connect() as wire:
        context = ssl.create_default_context()
        with pytest.raises(ssl.SSLError, match=r"(?i)wrong.version.number"):
            context.wrap_socket(wire.socket, server_hostname="localhost")
    hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"
    assert SPEAKS in detail(everything(serving, hello))


def test_headers_before_each_message(serving: Daemon) -> None:
    cleared = serving.calls("rkllm_clear_kv_cache")
    framed = b"Content-Length: %d\r\n\r\n" % len(CLEAR) + CLEAR
    (line,) = everything(serving, framed * 3).splitlines()
    assert SPEAKS in detail(line)
    assert serving.calls("rkllm_clear_kv_cache") == cleared


def test_what_runs_is_answered_before_the_connection_ends(serving: Daemon) -> None:
    found = everything(
        serving, b'{"jsonrpc":"2.0","id":7,"method":"rkllm.run","params":{"prompt":"x"}}\nGET / HTTP/1.0\r\n\r\n'
    )
    assert b'"id":7,"result"' in found
    assert b"400 Bad Request" in found


@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_a_pretty_printed_request_gets_one_error_and_the_connection_goes_on(serving: Daemon, piece: int) -> None:
    cleared = serving.calls("rkllm_clear_kv_cache")
    request: Any = json.loads(CLEAR)
    data = json.dumps({**request, "params": {"keep_system_prompt": 1}}, indent=2).encode() + b"\n"
    data += json.dumps([request, request], indent=4).encode() + b"\n"
    with serving.connect() as wire:
        for start in range(0, len(data), piece):
            wire.send(data[start : start + piece])
        wire.request("server.queue", None, "good")
        errors = [wire.receive(), wire.receive()]
        assert [kind(error) for error in errors] == ["ParseError", "ParseError"], "one for each value"
        assert "one line" in errors[0]["error"]["data"]["detail"]
        assert wire.receive()["id"] == "good"
    assert serving.calls("rkllm_clear_kv_cache") == cleared


def test_a_large_pretty_printed_request_gets_one_error(serving: Daemon) -> None:
    """Its long lines are parsed on a helper thread."""
    value = {"jsonrpc": "2.0", "id": 1, "method": "rknn.infer", "params": {"inputs": "A" * 200_000, "top_k": 1}}
    with serving.connect() as wire:
        wire.send(json.dumps(value, indent=2).encode() + b"\n")
        assert kind(wire.receive()) == "ParseError"
        wire.request("server.queue", None, "good")
        assert wire.receive()["id"] == "good"


def test_who_types_something_is_told_what_to_type(serving: Daemon) -> None:
    with serving.connect() as wire:
        wire.send(b"help\n")
        told = wire.receive()["error"]["data"]["detail"]
        assert SPEAKS in told
        example = told[told.index("{") : told.rindex("}") + 1]
        wire.send(example.encode() + b"\n")
        assert kind(wire.receive()) is None

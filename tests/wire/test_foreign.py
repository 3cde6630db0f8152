"""What is another protocol, or one value over several lines, and what is neither."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rkllmd.wire import foreign, jsonrpc
from rkllmd.wire.foreign import Farewell, Strangers

REQUEST = b'{"jsonrpc":"2.0","id":1,"method":"server.queue"}'


def heard(lines: list[bytes], strangers: Strangers | None = None) -> list[str]:
    """Return what becomes of each line: request, error, nothing, or the protocol of a farewell."""
    strangers = Strangers() if strangers is None else strangers
    found: list[str] = []
    for line in lines:
        message: Any = jsonrpc.parse(line)
        if strangers.is_inside or isinstance(message, jsonrpc.Rejected):
            message = strangers.look_at(line, message)
        match message:
            case Farewell():
                found.append(message.protocol)
            case jsonrpc.Rejected():
                found.append("error")
            case jsonrpc.Unsolicited():
                found.append("nothing")
            case list():
                found.append("batch")
            case _:
                found.append("request")
    return found


def pretty(value: Any, **how: Any) -> list[bytes]:
    return json.dumps(value, **{"indent": 2, **how}).encode().splitlines()


@pytest.mark.parametrize(
    "value",
    [
        {"jsonrpc": "2.0", "id": 1, "method": "rkllm.run", "params": {"prompt": 'a } in " a {string', "x": [1, [2]]}},
        [{"jsonrpc": "2.0", "id": 1, "method": "server.queue"}, {"jsonrpc": "2.0", "id": 2, "method": "server.queue"}],
        {"a": [], "b": {}, "c": [True, None, -1.5e3]},
        [[1], [2]],
    ],
)
@pytest.mark.parametrize("how", [{}, {"indent": 4}, {"indent": "\t"}], ids=["two", "four", "tab"])
def test_a_pretty_printed_value_is_one_error(value: Any, how: dict[str, Any]) -> None:
    lines = pretty(value, **how)
    assert heard([*lines, REQUEST, b"x", REQUEST]) == [
        "error",
        *["nothing"] * (len(lines) - 1),
        "request",
        "error",
        "request",
    ]


def test_a_pretty_printed_request_without_indentation() -> None:
    lines = pretty({"jsonrpc": "2.0", "method": "x", "id": 1}, indent=0)
    assert heard([*lines, REQUEST]) == ["error"] + ["nothing"] * (len(lines) - 1) + ["request"]


def test_a_value_that_begins_on_the_line_of_its_bracket() -> None:
    lines = [b'{"jsonrpc": "2.0",', b' "method": "x",', b' "id": 1}']
    assert heard([*lines, REQUEST]) == ["error", "nothing", "nothing", "request"]
    leading_commas = [b'{ "jsonrpc": "2.0"', b', "method": "x"', b"}"]
    assert heard([*leading_commas, REQUEST]) == ["error", "nothing", "nothing", "request"]


def test_members_of_a_pretty_printed_batch_are_not_executed() -> None:
    """The last one stands alone on its line, and would be a good request otherwise."""
    assert heard([b"[", b"  " + REQUEST + b",", b"  " + REQUEST, b"]", REQUEST]) == [
        "error",
        "nothing",
        "nothing",
        "nothing",
        "request",
    ]


def test_a_long_line_inside_goes_on_with_the_value() -> None:
    tensor = b'    "data": "' + b"A" * 10_000 + b'",'
    found = heard([b"{", b'  "params": {', tensor, b'    "size": 1', b"  }", b"}", REQUEST])
    assert found[-2:] == ["nothing", "request"]
    strangers = Strangers()
    heard([b"{"], strangers)
    assert strangers.look_at(None, jsonrpc.parse(tensor)) is jsonrpc.UNSOLICITED
    message = jsonrpc.parse(REQUEST)
    assert strangers.look_at(None, message) is message


@pytest.mark.parametrize(
    "line",
    [b"{", b"[", b'{"jsonrpc": "2.0", "id": 1', b"[[[[", b'{"a":{"b":', b'{"a": "unfinished', b"[1,,", b'{"a" b'],
)
def test_a_malformed_line_takes_nothing_from_what_follows_it(line: bytes) -> None:
    assert heard([line, REQUEST, REQUEST]) == ["error", "request", "request"]
    assert heard([line, b"x", b"nonsense", b"1", b"[]", REQUEST]) == ["error"] * 5 + ["request"]
    assert heard([line, b"[" + REQUEST + b"]", REQUEST]) == ["error", "batch", "request"]


def test_lines_that_are_no_json_are_each_an_error() -> None:
    lines = [b"}", b"]", b"hello", b'  "a": 1,', b"  }", b"\xff{", b"{" * 5000, b"}"]
    assert heard(lines) == ["error"] * len(lines)


def test_it_is_said_once_what_this_socket_speaks() -> None:
    strangers = Strangers()
    details = []
    for line in (b"help", b"help"):
        seen = strangers.look_at(line, jsonrpc.parse(line))
        assert isinstance(seen, jsonrpc.Rejected)
        details.append(seen.error.data["detail"])
    assert foreign.SPEAKS in details[0]
    assert foreign.SPEAKS not in details[1]
    assert details[0].startswith(details[1])


def test_other_errors_are_left_as_they_are() -> None:
    message = jsonrpc.parse(b"{}")
    assert Strangers().look_at(b"{}", message) is message


@pytest.mark.parametrize(
    ("line", "protocol"),
    [
        (b"GET / HTTP/1.1\r", "HTTP"),
        (b"POST /rpc HTTP/1.0\r", "HTTP"),
        (b"PRI * HTTP/2.0\r", "HTTP"),
        (b"OPTIONS * HTTP/1.1", "HTTP"),
        (b"Content-Length: 48\r", "headers"),
        (b"content-type: application/vscode-jsonrpc; charset=utf-8\r", "headers"),
    ],
)
def test_other_protocols(line: bytes, protocol: str) -> None:
    assert heard([line]) == [protocol]
    assert heard([REQUEST, b"x", line]) == ["request", "error", protocol], "at any time"


@pytest.mark.parametrize(
    "line", [b"GET / HTTP", b"get / HTTP/1.1", b"GET HTTP/1.1", b"'GET / HTTP/1.1'", b"Content-Length"]
)
def test_what_only_looks_like_another_protocol(line: bytes) -> None:
    assert heard([line, REQUEST]) == ["error", "request"]


def test_the_answer_to_http_is_http() -> None:
    seen = Strangers().look_at(b"GET / HTTP/1.1\r", jsonrpc.parse(b"GET / HTTP/1.1\r"))
    assert isinstance(seen, Farewell)
    head, body = seen.reply.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Connection: close" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert foreign.SPEAKS in json.loads(body)["error"]["data"]["detail"]


def test_tls_is_known_by_its_first_bytes() -> None:
    farewell = foreign.greeting_of(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
    assert farewell is not None
    assert foreign.SPEAKS in json.loads(farewell.reply)["error"]["data"]["detail"]
    for first in (REQUEST, b"\x16", b"\x00", b"\n", b"GET"):
        assert foreign.greeting_of(first) is None

"""Lines that are too long, answers, and what of them cannot be written."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from rkllmd.errors import Cancelled, FrameTooLarge, InternalError, InvalidParams
from rkllmd.wire import jsonrpc, long_strings
from rkllmd.wire.jsonrpc import ABSENT, Exchange, Rejected, Request, parse
from rkllmd.wire.long_strings import LongText
from tests.wire.jsonrpc.server import MIB, Server, kind, whole

# Lines


def test_the_longest_line() -> None:
    limit = 16 * MIB
    request = b'{"jsonrpc":"2.0","method":"sum","params":[1,2],"id":1}'
    fits = request + b" " * (limit - len(request))
    server = Server(limit=limit)
    server.receive(fits + b"\n")
    assert [message["result"] for message in server.take()] == [3]
    assert not server.lines.overflowed
    server.receive(request + b"\n" + fits + b" \n" + request + b"\n")
    assert [message["result"] for message in server.take()] == [3], "the line before it, not the line after it"
    assert server.lines.overflowed
    server.receive(request + b"\n")
    server.end()
    assert server.take() == []


def test_the_error_for_a_line_too_long() -> None:
    assert json.loads(jsonrpc.error_line(FrameTooLarge("A line has at most 5 bytes.", limit=5))) == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {
            "code": -32600,
            "message": "A line has at most 5 bytes.",
            "data": {"kind": "FrameTooLarge", "limit": 5},
        },
    }


# Answers


class Unknown:
    """Nothing that JSON knows."""


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "result", [Unknown(), "\ud800", deep(300), {1: 2}, 2**64], ids=lambda item: type(item).__name__
)
def test_an_answer_that_cannot_be_written_is_an_error(result: Any) -> None:
    exchange = Exchange()
    (call,), _ = exchange.receive(Request(1, "x", [], {}))
    answer = json.loads(whole(exchange.finish(call, result)))
    assert (answer["id"], answer["error"]["code"], kind(answer)) == (1, -32603, "InternalError")


def test_an_answer_that_cannot_be_written_leaves_the_rest_of_its_batch_alone() -> None:
    exchange = Exchange()
    calls, _ = exchange.receive([Request(n, "x", [], {}) for n in range(3)])
    assert exchange.finish(calls[0], "good") == b""
    assert exchange.finish(calls[1], "\ud800") == b""
    line = whole(exchange.finish(calls[2], "good"))
    assert line.endswith(b"]\n")
    assert line.count(b"\n") == 1
    answers = json.loads(line)
    assert [answer.get("result") for answer in answers] == ["good", None, "good"]
    assert [answer["id"] for answer in answers] == [0, 1, 2]
    assert kind(answers[1]) == "InternalError"


def test_an_answer_with_a_long_text_is_a_line_in_pieces() -> None:
    exchange = Exchange()
    (call,), _ = exchange.receive(Request(1, "x", [], {}))
    line = exchange.finish(call, {"data": LongText([b"AAAA", b"BBBB"])})
    assert isinstance(line, list)
    assert [line[1], line[2]] == [b"AAAA", b"BBBB"]
    assert json.loads(whole(line)) == {"jsonrpc": "2.0", "id": 1, "result": {"data": "AAAABBBB"}}
    assert whole(line).endswith(b"}\n")
    calls, _ = exchange.receive([Request(n, "x", [], {}) for n in range(3)])
    assert exchange.finish(calls[0], LongText([b"AAAA"])) == b""
    assert exchange.finish(calls[1], "\ud800") == b"", "which can't be written"
    answers = json.loads(whole(exchange.finish(calls[2], LongText([b"BBBB", b"CCCC"]))))
    assert [answer.get("result") for answer in answers] == ["AAAA", None, "BBBBCCCC"]
    assert kind(answers[1]) == "InternalError"


def test_an_answer_says_how_many_descriptors_come_with_it() -> None:
    exchange = Exchange()
    (call,), _ = exchange.receive(Request(1, "x", [], {}))
    answer = json.loads(whole(exchange.finish(call, {"fd": 1}, fds=2)))
    assert answer == {"jsonrpc": "2.0", "id": 1, "result": {"fd": 1}, "fds": 2}
    (call,), _ = exchange.receive(Request(1, "x", [], {}))
    assert json.loads(whole(exchange.finish(call, {}))) == {"jsonrpc": "2.0", "id": 1, "result": {}}


def test_an_error_that_cannot_be_written_is_still_an_error() -> None:
    exchange = Exchange()
    (call,), _ = exchange.receive(Request(1, "x", [], {}))
    answer = json.loads(whole(exchange.fail(call, InvalidParams("no", path=deep(300)))))
    assert (answer["id"], kind(answer)) == (1, "InternalError")


def test_a_call_is_answered_once() -> None:
    exchange = Exchange()
    (call,), _ = exchange.receive(Request(1, "x", [], {}))
    assert exchange.find(1) is call
    assert exchange.open_calls == 1
    exchange.finish(call, 1)
    assert exchange.find(1) is None
    assert exchange.open_calls == 0
    with pytest.raises(AssertionError, match="twice"):
        exchange.fail(call, Cancelled("late"))
    assert exchange.open_calls == 0


def test_a_notification_from_the_server() -> None:
    assert jsonrpc.notification("rkllm.token", {"id": 2, "seq": 0, "text": "ü"}) == (
        '{"jsonrpc":"2.0","method":"rkllm.token","params":{"id":2,"seq":0,"text":"ü"}}\n'.encode()
    )


@pytest.mark.parametrize("call_id", [1, -5, 2**64 - 1, "a\u00e4\n", None])
def test_partial_results_repeat_the_id_exactly(call_id: jsonrpc.Id) -> None:
    result = {"text": "\u00fc\n", "seq": 0}
    line = jsonrpc.partial_encoder(call_id, as_notifications=False)(result)
    assert line.endswith(b"}\n")
    assert json.loads(line) == {"jsonrpc": "2.0", "id": call_id, "result": result}
    line = jsonrpc.partial_encoder(call_id, as_notifications=True)(result)
    assert json.loads(line) == {"jsonrpc": "2.0", "method": "rkllm.token", "params": {"id": call_id, **result}}


def test_absent_is_not_null() -> None:
    assert parse(b'{"jsonrpc":"2.0","method":"x"}') == Request(ABSENT, "x", [], {})
    assert parse(b'{"jsonrpc":"2.0","method":"x","id":null}') == Request(None, "x", [], {})
    assert repr(ABSENT) == "ABSENT"


def test_answers_of_a_batch_are_counted_until_it_is_complete() -> None:
    exchange = Exchange()
    batch = [Request(number, "m", [], {}) for number in (1, 2)]
    (first, second), _ = exchange.receive([*batch])
    other, _ = exchange.receive([Request(3, "m", [], {}), Request(ABSENT, "m", [], {})])
    assert exchange.finish(first, "x" * 1000) == b""
    assert 1000 < exchange.waiting_bytes < 1100
    exchange.finish(other[0], LongText([b"y" * 500] * 10))
    assert 6000 < exchange.waiting_bytes < 6200
    line = exchange.finish(second, 2)
    assert [answer["id"] for answer in json.loads(whole(line))] == [1, 2]
    assert 5000 < exchange.waiting_bytes < 5100
    assert len(json.loads(whole(exchange.finish(other[1], 4)))) == 1
    assert exchange.waiting_bytes == 0


def test_a_call_whose_answer_can_not_be_made_can_still_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = Exchange()
    (call,), _ = exchange.receive(parse(b'{"jsonrpc":"2.0","id":1,"method":"x"}'))

    def fail(_: Any) -> jsonrpc.Line:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(jsonrpc, "_encode", fail)
        with pytest.raises(MemoryError):
            exchange.finish(call, {})
    assert (call.finished, exchange.open_calls) == (False, 1)
    assert b'"error"' in whole(exchange.fail(call, InternalError("no")))


def test_a_line_for_which_there_is_no_memory_is_not_called_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> Any:
        raise orjson.JSONDecodeError("Not enough memory to allocate buffer for parsing", "", 0)

    monkeypatch.setattr(long_strings, "loads", fail)
    told = parse(b'{"jsonrpc":"2.0","id":7,"method":"x"}')
    assert isinstance(told, Rejected)
    assert (told.id, told.error.kind) == (7, "OutOfMemory")

"""JSON-RPC 2.0 without I/O: the specification's examples, the rulings on what it leaves open, and anything else."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkllmd.errors import Cancelled, FrameTooLarge, InvalidParams, MethodNotFound
from rkllmd.wire import jsonrpc
from rkllmd.wire.jsonrpc import ABSENT, UNSOLICITED, Call, Exchange, Line, Rejected, Request, parse
from rkllmd.wire.lines import LineBuffer
from rkllmd.wire.long_bytes import LongBytes
from rkllmd.wire.long_strings import LongText

MIB = 2**20


# A small server around the real parts, as the connection is one: what comes in is bytes, what goes out is bytes.


def subtract(params: Any) -> Any:
    if isinstance(params, dict):
        return params["minuend"] - params["subtrahend"]
    return params[0] - params[1]


METHODS: dict[str, Callable[[Any], Any]] = {
    "subtract": subtract,
    "sum": sum,
    "update": lambda params: None,
    "notify_hello": lambda params: None,
    "notify_sum": lambda params: None,
    "get_data": lambda params: ["hello", 5],
}


def whole(line: Line) -> bytes:
    """Return a line in one piece."""
    return b"".join(line) if isinstance(line, list) else line


class Server:
    """Answers at once, or keeps the calls for the test to answer."""

    def __init__(self, *, limit: int = 16 * MIB, at_once: bool = True) -> None:
        self.lines = LineBuffer(limit)
        self.exchange = Exchange()
        self.calls: list[Call] = []
        self.made: list[Call] = []
        self.sent = b""
        self._at_once = at_once

    def receive(self, data: bytes) -> None:
        """Take a piece of the stream."""
        self._handle(self.lines.feed(data))

    def end(self) -> None:
        """Take the end of the stream."""
        self._handle(self.lines.end())

    def _handle(self, lines: list[LongBytes]) -> None:
        for line in lines:
            calls, reply = self.exchange.receive(parse(line))
            self.sent += whole(reply)
            self.calls += calls
            self.made += calls
            while self._at_once and self.calls:
                self.answer(self.calls[0])

    def answer(self, call: Call) -> None:
        """Do what ``call`` asks for and answer it."""
        self.calls.remove(call)
        function = METHODS.get(call.method)
        if function is None:
            self.sent += whole(self.exchange.fail(call, MethodNotFound(f"There is no method {call.method}.")))
            return
        try:
            self.sent += whole(self.exchange.finish(call, function(call.params)))
        except (TypeError, LookupError) as error:
            self.sent += whole(self.exchange.fail(call, InvalidParams(str(error)[:100])))

    def take(self) -> list[Any]:
        """Return the messages sent so far, and forget them."""
        sent, self.sent = self.sent, b""
        assert sent == b"" or sent.endswith(b"\n"), "every message is a whole line"
        return [json.loads(line) for line in sent.splitlines()]


def served(*pieces: bytes) -> list[Any]:
    server = Server()
    for piece in pieces:
        server.receive(piece)
    server.end()
    assert server.exchange.open_calls == 0
    return server.take()


def plain(answer: Any) -> Any:
    """Return an answer without ``data``, which the specification leaves to the server."""
    if isinstance(answer, list):
        return [plain(item) for item in answer]
    if "error" in answer:
        return {**answer, "error": {name: value for name, value in answer["error"].items() if name != "data"}}
    return answer


def multiset(answers: Any) -> Any:
    """Return something equal for equal answers, where the order of a batch's answers does not matter."""
    if isinstance(answers, list):
        return sorted(json.dumps(item, sort_keys=True) for item in answers)
    return json.dumps(answers, sort_keys=True)


def error(code: int, message: str, call_id: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": call_id}


def kind(answer: dict[str, Any]) -> str:
    return str(answer["error"]["data"]["kind"])


PARSE_ERROR = error(-32700, "Parse error")
INVALID = error(-32600, "Invalid Request")

# The specification, section 7: what is sent, and what comes back (None: no byte at all). Its multi-line batches stand
# on one line here.
EXAMPLES: list[tuple[str, str, Any]] = [
    (
        "positional",
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
        {"jsonrpc": "2.0", "result": 19, "id": 1},
    ),
    (
        "positional, the other way round",
        '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
        {"jsonrpc": "2.0", "result": -19, "id": 2},
    ),
    (
        "named",
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
        {"jsonrpc": "2.0", "result": 19, "id": 3},
    ),
    (
        "named, the other way round",
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
        {"jsonrpc": "2.0", "result": 19, "id": 4},
    ),
    ("a notification", '{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None),
    ("a notification of an unknown method", '{"jsonrpc": "2.0", "method": "foobar"}', None),
    (
        "a method that does not exist",
        '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
        error(-32601, "Method not found", "1"),
    ),
    ("invalid JSON", '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', PARSE_ERROR),
    ("an invalid Request", '{"jsonrpc": "2.0", "method": 1, "params": "bar"}', INVALID),
    (
        "a batch of invalid JSON",
        '[ {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method" ]',
        PARSE_ERROR,
    ),
    ("an empty array", "[]", INVALID),
    ("an invalid batch that is not empty", "[1]", [INVALID]),
    ("an invalid batch", "[1,2,3]", [INVALID, INVALID, INVALID]),
    (
        "a batch",
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, '
        '{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}, '
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"}, '
        '{"foo": "boo"}, '
        '{"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"}, '
        '{"jsonrpc": "2.0", "method": "get_data", "id": "9"}]',
        [
            {"jsonrpc": "2.0", "result": 7, "id": "1"},
            {"jsonrpc": "2.0", "result": 19, "id": "2"},
            INVALID,
            error(-32601, "Method not found", "5"),
            {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"},
        ],
    ),
    (
        "a batch of notifications only",
        '[{"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]}, '
        '{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}]',
        None,
    ),
]
EVERY_EXAMPLE = pytest.mark.parametrize(
    ("sent", "answer"), [item[1:] for item in EXAMPLES], ids=[e[0] for e in EXAMPLES]
)


def expected(answer: Any) -> list[Any]:
    return [] if answer is None else [multiset(answer)]


def got(answers: list[Any]) -> list[Any]:
    return [multiset(plain(answer)) for answer in answers]


@EVERY_EXAMPLE
def test_example_of_the_specification(sent: str, answer: Any) -> None:
    assert got(served(sent.encode() + b"\n")) == expected(answer)


@EVERY_EXAMPLE
def test_example_without_a_newline_before_the_end(sent: str, answer: Any) -> None:
    """``printf '{…}' | nc -U`` (protocol, section 1)."""
    assert got(served(sent.encode())) == expected(answer)


@EVERY_EXAMPLE
def test_example_split_at_every_byte(sent: str, answer: Any) -> None:
    line = sent.encode() + b"\n"
    for cut in range(len(line) + 1):
        assert got(served(line[:cut], line[cut:])) == expected(answer), f"cut at {cut}"


def test_all_examples_in_one_stream() -> None:
    stream = "".join(f"{sent}\n" for _, sent, _ in EXAMPLES).encode()
    all_answers = [item for _, _, answer in EXAMPLES for item in expected(answer)]
    assert got(served(stream)) == all_answers
    assert got(served(*[stream[index : index + 1] for index in range(len(stream))])) == all_answers


# Rulings on what the examples imply (reference: anchors, 1.2). A good request after each bad one must be served.


def ask(line: str | bytes) -> list[Any]:
    """Send one line to a fresh server and then a good request; return what came back before that one's answer."""
    raw = line.encode() if isinstance(line, str) else line
    *answers, last = served(raw + b"\n", b'{"jsonrpc":"2.0","method":"get_data","id":"after"}\n')
    assert last == {"jsonrpc": "2.0", "result": ["hello", 5], "id": "after"}, "the connection has recovered"
    return answers


def one(line: str | bytes) -> Any:
    (answer,) = ask(line)
    return answer


def test_ruling_1_the_shape_is_judged_before_a_notification_is_recognized() -> None:
    assert plain(one('{"jsonrpc":"2.0","method":1}')) == INVALID
    assert plain(one('{"jsonrpc":"2.0"}')) == INVALID
    assert plain(one('{"method":"update"}')) == INVALID
    assert ask('{"jsonrpc":"2.0","method":"update"}') == []


@pytest.mark.parametrize("params", ["", ',"params":[]', ',"params":{"a":1}', ',"params":["x","y"]'])
@pytest.mark.parametrize("method", ["subtract", "nothing"])
def test_ruling_2_a_notification_is_never_answered(method: str, params: str) -> None:
    note = f'{{"jsonrpc":"2.0","method":"{method}"{params}}}'
    assert ask(note) == []
    assert ask(f"[{note},{note}]") == []


def test_ruling_2_a_notification_that_fails_stays_unanswered() -> None:
    exchange = Exchange()
    for message in (Request(ABSENT, "x", [], {}), [Request(ABSENT, "x", [], {})]):
        (call,), reply = exchange.receive(message)  # type: ignore[arg-type]
        assert reply == b""
        assert call.is_notification
        assert exchange.fail(call, Cancelled("no")) == b""


def test_ruling_3_an_id_of_null_is_a_request() -> None:
    assert one('{"jsonrpc":"2.0","method":"get_data","id":null}') == {
        "jsonrpc": "2.0",
        "result": ["hello", 5],
        "id": None,
    }
    # And several may be in flight: null identifies nothing.
    server = Server(at_once=False)
    server.receive(b'{"jsonrpc":"2.0","method":"get_data","id":null}\n' * 2)
    assert len(server.calls) == 2
    assert server.exchange.find(None) is None


@pytest.mark.parametrize("call_id", ["7", '"seven"', '""', "null"])
@pytest.mark.parametrize(
    "rest", ['"method":"get_data"', '"jsonrpc":"2.0","method":[]', '"jsonrpc":"2.0"', '"jsonrpc":2.0']
)
def test_ruling_4_an_invalid_request_echoes_a_readable_id(call_id: str, rest: str) -> None:
    assert plain(one(f'{{"id":{call_id},{rest}}}')) == error(-32600, "Invalid Request", json.loads(call_id))


@pytest.mark.parametrize("call_id", ["true", "false", "[]", "[1]", "{}", '{"id":1}'])
def test_ruling_4_an_id_of_another_type_is_answered_with_null(call_id: str) -> None:
    assert plain(one(f'{{"jsonrpc":"2.0","method":"get_data","id":{call_id}}}')) == INVALID


@pytest.mark.parametrize(
    "call_id", ["0", "-1", "1", str(2**53 + 1), str(-(2**63)), str(2**63), str(2**64 - 1), '"1"', '"ü\\u0000😀"', '""']
)
def test_ruling_5_an_id_comes_back_as_the_same_value(call_id: str) -> None:
    answer = one(f'{{"jsonrpc":"2.0","method":"get_data","id":{call_id}}}')
    assert answer["id"] == json.loads(call_id)
    assert type(answer["id"]) is type(json.loads(call_id))
    assert answer["result"] == ["hello", 5]


@pytest.mark.parametrize("call_id", ["1.0", "1.5", "-0.0", "1e3", str(2**64), str(-(2**63) - 1), "1" * 400])
def test_ruling_5_a_number_that_could_not_be_echoed_is_refused(call_id: str) -> None:
    assert plain(one(f'{{"jsonrpc":"2.0","method":"get_data","id":{call_id}}}'))["id"] is None
    assert plain(one(f'{{"jsonrpc":"2.0","method":"get_data","id":{call_id}}}')) in (INVALID, PARSE_ERROR)


def test_ruling_5_the_length_of_an_id_is_limited() -> None:
    longest = "ä" * jsonrpc.MAX_ID_LENGTH
    assert one(f'{{"jsonrpc":"2.0","method":"get_data","id":"{longest}"}}')["id"] == longest
    answer = one(f'{{"jsonrpc":"2.0","method":"get_data","id":"{longest}x"}}')
    assert plain(answer) == INVALID
    assert str(jsonrpc.MAX_ID_LENGTH) in answer["error"]["data"]["detail"]


def test_ruling_6_a_duplicate_of_an_id_in_flight_is_refused() -> None:
    server = Server(at_once=False)
    server.receive(b'{"jsonrpc":"2.0","method":"sum","params":[1,2],"id":5}\n')
    server.receive(b'{"jsonrpc":"2.0","method":"get_data","id":5}\n')
    (refused,) = server.take()
    assert (refused["id"], refused["error"]["code"], kind(refused)) == (5, -32600, "DuplicateId")
    assert [call.method for call in server.calls] == ["sum"]
    # A string is another id than the number, and the id is free again after the answer.
    server.receive(b'{"jsonrpc":"2.0","method":"get_data","id":"5"}\n')
    assert [call.id for call in server.calls] == [5, "5"]
    server.answer(server.calls[0])
    server.receive(b'{"jsonrpc":"2.0","method":"get_data","id":5}\n')
    assert [message["id"] for message in server.take()] == [5]
    assert [call.id for call in server.calls] == ["5", 5]


def test_ruling_6_a_duplicate_inside_a_batch() -> None:
    request = '{"jsonrpc":"2.0","method":"get_data","id":1}'
    (answers,) = served(f"[{request},{request},{request}]\n".encode())
    assert sorted(str(answer.get("result")) for answer in answers) == ["None", "None", "['hello', 5]"]
    assert {answer["id"] for answer in answers} == {1}
    assert [kind(answer) for answer in answers if "error" in answer] == ["DuplicateId", "DuplicateId"]


def test_ruling_6_an_id_belongs_to_its_connection() -> None:
    first, second = Server(at_once=False), Server(at_once=False)
    for server in (first, second):
        server.receive(b'{"jsonrpc":"2.0","method":"get_data","id":5}\n')
        assert server.take() == []
        assert len(server.calls) == 1


def test_ruling_7_params_that_are_null_are_none() -> None:
    message = parse(b'{"jsonrpc":"2.0","method":"sum","params":null,"id":1}')
    assert message == Request(1, "sum", [], {})


@pytest.mark.parametrize("params", ["1", '"text"', "true", "false", "0"])
def test_ruling_7_params_of_another_type_make_no_request(params: str) -> None:
    assert plain(one(f'{{"jsonrpc":"2.0","method":"get_data","params":{params},"id":3}}')) == {**INVALID, "id": 3}
    assert plain(one(f'{{"jsonrpc":"2.0","method":"get_data","params":{params}}}')) == INVALID


def test_ruling_7_params_with_wrong_content_are_invalid_params() -> None:
    answer = one('{"jsonrpc":"2.0","method":"subtract","params":["x"],"id":3}')
    assert (answer["error"]["code"], answer["id"]) == (-32602, 3)


def test_ruling_8_other_members_beside_method_are_kept_for_who_knows_them() -> None:
    message = parse(b'{"jsonrpc":"2.0","method":"sum","params":[1],"id":1,"stream":"final","x":{"y":1}}')
    assert message == Request(1, "sum", [1], {"stream": "final", "x": {"y": 1}})
    (call,), _ = Exchange().receive(message)
    assert call.members.given == {"stream": "final", "x": {"y": 1}}
    assert one('{"jsonrpc":"2.0","method":"sum","params":[1],"id":1,"comment":"ignored"}')["result"] == 1


@pytest.mark.parametrize(
    "line",
    [
        '{"jsonrpc":"2.0","result":19,"id":1}',
        '{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request"},"id":null}',
        '{"result":null}',
        '{"error":null,"id":[]}',
        '[{"jsonrpc":"2.0","result":19,"id":1},{"error":1}]',
    ],
)
def test_ruling_9_a_response_is_never_answered(line: str) -> None:
    assert ask(line) == []


def test_ruling_9_a_response_is_recognized_for_the_log() -> None:
    assert parse(b'{"jsonrpc":"2.0","result":19,"id":1}') is UNSOLICITED
    assert plain(one('{"jsonrpc":"2.0","result":19,"method":1,"id":1}')) == {**INVALID, "id": 1}


def test_ruling_10_arrays_in_a_batch_are_no_requests() -> None:
    request = '{"jsonrpc":"2.0","method":"get_data","id":1}'
    answers = one(f"[[],[{request}],{request}]")
    assert multiset(plain(answers)) == multiset([INVALID, INVALID, {"jsonrpc": "2.0", "result": ["hello", 5], "id": 1}])


def test_ruling_10_the_length_of_a_batch_is_limited() -> None:
    def batch(count: int) -> str:
        return json.dumps([{"jsonrpc": "2.0", "method": "sum", "params": [n], "id": n} for n in range(count)])

    answers = one(batch(jsonrpc.MAX_BATCH))
    assert {answer["id"]: answer["result"] for answer in answers} == {n: n for n in range(jsonrpc.MAX_BATCH)}
    refused = one(batch(jsonrpc.MAX_BATCH + 1))
    assert plain(refused) == INVALID, "one object, and nothing was executed"
    assert refused["error"]["data"]["limit"] == jsonrpc.MAX_BATCH


def test_ruling_10_a_batch_is_answered_when_its_last_member_is_done() -> None:
    server = Server(at_once=False)
    server.receive(
        b'[{"jsonrpc":"2.0","method":"sum","params":[1],"id":1},{"jsonrpc":"2.0","method":"notify_sum"},7,'
        b'{"jsonrpc":"2.0","method":"sum","params":[2],"id":2},{"jsonrpc":"2.0","result":1,"id":9}]\n'
    )
    first, note, second = server.calls
    # Partial results of its members go out at once, as lines of their own.
    assert jsonrpc.partial_encoder(first.id, as_notifications=False)({"text": "a", "seq": 0}) == (
        b'{"jsonrpc":"2.0","id":1,"result":{"text":"a","seq":0}}\n'
    )
    server.answer(second)
    server.answer(first)
    assert server.take() == [], "the notification is not done"
    server.answer(note)
    (answers,) = server.take()
    results = [{"jsonrpc": "2.0", "id": n, "result": n} for n in (1, 2)]
    assert multiset(plain(answers)) == multiset([INVALID, *results])


def test_ruling_11_answers_may_overtake_each_other() -> None:
    server = Server(at_once=False)
    server.receive(b"".join(b'{"jsonrpc":"2.0","method":"sum","params":[%d],"id":%d}\n' % (n, n) for n in range(3)))
    for call in reversed(server.made):
        server.answer(call)
    assert [(message["id"], message["result"]) for message in server.take()] == [(2, 2), (1, 1), (0, 0)]


def test_ruling_12_names_are_case_sensitive() -> None:
    assert one('{"jsonrpc":"2.0","method":"Sum","params":[1],"id":1}')["error"]["code"] == -32601
    assert plain(one('{"jsonrpc":"2.0","Method":"sum","id":1}')) == {**INVALID, "id": 1}
    assert ask('{"jsonrpc":"2.0","method":"sum","params":[],"ID":1}') == [], "that is a notification"


@pytest.mark.parametrize("version", ['"1.0"', '"2"', "2", "2.0", "null", '"2.0 "', "[]"])
def test_only_version_2_0_is_spoken(version: str) -> None:
    assert plain(one(f'{{"jsonrpc":{version},"method":"get_data","id":1}}')) == {**INVALID, "id": 1}


@pytest.mark.parametrize("blank", [b"", b" ", b"\t", b"\r", b" \t\r", b"\n\n\n"])
def test_ruling_14_blank_lines_are_ignored(blank: bytes) -> None:
    assert ask(blank) == []


@EVERY_EXAMPLE
def test_ruling_14_a_carriage_return_is_ignored(sent: str, answer: Any) -> None:
    assert got(served(sent.encode() + b"\r\n")) == expected(answer)


@pytest.mark.parametrize(
    "line",
    [
        b"\xef\xbb\xbf{}",
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e400]",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"a\x01b"',
        b"[1,]",
        b'{"a":1,}',
        b"[01]",
        b"{} {}",
        b'{"jsonrpc":"2.0","method":"sum","params":[],"id":1}{"jsonrpc":"2.0","method":"sum","params":[],"id":2}',
        b"// comment",
        b"\x00",
        b"'a'",
        b"hello",
    ],
)
def test_ruling_15_what_is_no_json(line: bytes) -> None:
    answer = one(line)
    assert plain(answer) == PARSE_ERROR
    assert kind(answer) == "ParseError"


def test_ruling_15_of_duplicate_members_the_last_counts() -> None:
    assert one('{"jsonrpc":"2.0","method":"nothing","method":"sum","params":[9],"params":[1,2],"id":1,"id":2}') == {
        "jsonrpc": "2.0",
        "result": 3,
        "id": 2,
    }


def test_ruling_15_nesting() -> None:
    deepest = "[" * 1022 + "]" * 1022
    answer = one(f'{{"jsonrpc":"2.0","method":"get_data","params":[{deepest}],"id":1}}')
    assert answer["result"] == ["hello", 5]
    assert plain(one(b"[" * 10**6)) == PARSE_ERROR
    assert plain(one(b"[" * 10**6 + b"]" * 10**6)) == PARSE_ERROR
    assert plain(one(b'{"a":' * 10**6)) == PARSE_ERROR


def test_a_parse_error_names_the_place_in_characters() -> None:
    answer = one('{"é": 1, x')
    assert answer["error"]["data"]["detail"].endswith("at character 9.")


def test_no_error_repeats_what_the_client_sent() -> None:
    """A request may be megabytes long; its error must not be."""
    for line in (b'"' + b"secret" * 10**5, b'{"jsonrpc":"2.0","method":["%s"],"id":1}' % (b"secret" * 10**5)):
        assert len(json.dumps(one(line))) < 300


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


# Anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
IDS = st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8) | st.none()
REQUESTS = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "method": st.sampled_from([*METHODS, "foobar"])},
    optional={"id": IDS, "params": st.lists(st.integers(), max_size=3) | st.just({"minuend": 1, "subtrahend": 2})},
)
MUTATED = st.builds(
    lambda request, name, value: {**request, name: value},
    REQUESTS,
    st.sampled_from(["jsonrpc", "method", "id", "params", "result", "error", "x"]),
    JSON,
)
MESSAGES = REQUESTS | MUTATED | JSON
LINES = (MESSAGES | st.lists(MESSAGES, max_size=5)).map(lambda value: json.dumps(value).encode())


def is_answered(message: Any) -> bool:
    """Return whether the specification and its rulings want an answer for this parsed value."""
    if not isinstance(message, dict):
        return True
    if "method" not in message and ("result" in message or "error" in message):
        return False
    is_request = (
        message.get("jsonrpc") == "2.0"
        and isinstance(message.get("method"), str)
        and isinstance(message.get("params", []), (list, dict))
    )
    return not (is_request and "id" not in message)


def answers_wanted(line: bytes) -> int:
    """Return how many answers a line wants: one for each Request in it, and for each thing that should be one."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return 1
    if isinstance(value, list) and 0 < len(value) <= jsonrpc.MAX_BATCH:
        return sum(map(is_answered, value))
    return int(is_answered(value))


def is_response(answer: Any) -> bool:
    return (
        set(answer) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
        and answer["jsonrpc"] == "2.0"
        and (isinstance(answer["id"], (str, int)) or answer["id"] is None)
    )


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_without_an_exception(line: bytes) -> None:
    parsed = parse(line)
    for message in parsed if isinstance(parsed, list) else [parsed]:
        assert isinstance(message, (Request, Rejected)) or message is UNSOLICITED


@settings(deadline=None)
@given(LINES)
def test_every_request_is_answered_exactly_once(line: bytes) -> None:
    messages = served(line + b"\n")
    assert len(messages) <= 1, "one line is answered with one line"
    answers = [item for message in messages for item in (message if isinstance(message, list) else [message])]
    assert len(answers) == answers_wanted(line)
    assert all(map(is_response, answers))
    assert all(message != [] for message in messages)


@settings(deadline=None)
@given(st.lists(LINES | st.binary(max_size=30), max_size=6), st.lists(st.integers(0, 2000), max_size=12), st.booleans())
def test_splitting_never_changes_the_result(lines: list[bytes], cuts: list[int], ended: bool) -> None:
    stream = b"\n".join(lines) + (b"\n" if ended else b"")
    bounds = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[start:end] for start, end in itertools.pairwise(bounds)]
    assert served(*pieces) == served(stream)


@settings(max_examples=50, deadline=None)
@given(st.lists(REQUESTS | st.lists(REQUESTS, min_size=1, max_size=4), max_size=6), st.randoms(use_true_random=False))
def test_any_order_of_answers_leaves_nothing_behind(messages: list[Any], random: Any) -> None:
    server = Server(at_once=False)
    for message in messages:
        server.receive(json.dumps(message).encode() + b"\n")
    while server.calls:
        server.answer(random.choice(server.calls))
    assert server.exchange.open_calls == 0
    assert all(server.exchange.find(call.id) is None for call in server.made)
    answers = [item for message in server.take() for item in (message if isinstance(message, list) else [message])]
    requests = [item for message in messages for item in (message if isinstance(message, list) else [message])]
    assert multiset([answer["id"] for answer in answers]) == multiset([item["id"] for item in requests if "id" in item])

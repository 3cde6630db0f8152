"""JSON-RPC 2.0 without I/O: the rulings on what the specification's examples imply.

A good request after each bad one must be served.
"""

from __future__ import annotations

import json

import pytest

from rkllmd.errors import Cancelled
from rkllmd.wire import jsonrpc
from rkllmd.wire.jsonrpc import ABSENT, UNSOLICITED, Exchange, Request, parse
from tests.wire.jsonrpc.server import INVALID, PARSE_ERROR, Server, ask, error, kind, multiset, one, plain, served


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

"""The examples of the specification of JSON-RPC 2.0, section 7, whole and in pieces."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire.jsonrpc.server import INVALID, PARSE_ERROR, error, multiset, plain, served

# A small server around the real parts, as the connection is one: what comes in is bytes, what goes out is bytes.

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


@EVERY_EXAMPLE
def test_ruling_14_a_carriage_return_is_ignored(sent: str, answer: Any) -> None:
    assert got(served(sent.encode() + b"\r\n")) == expected(answer)

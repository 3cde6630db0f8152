"""Any line at all: each request is answered exactly once, however the bytes are cut."""

from __future__ import annotations

import itertools
import json
from types import NoneType
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from rkllmd.wire import jsonrpc
from rkllmd.wire.jsonrpc import UNSOLICITED, Rejected, Request, parse
from tests.wire.jsonrpc.server import METHODS, Server, multiset, served

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
        and isinstance(message.get("params"), (list, dict, NoneType))
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

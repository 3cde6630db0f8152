"""The daemon's results as Anthropic's events and messages."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.anthropic.answer import MessageAnswer
from rkllmd.gateway.failures import Failure

FINAL = {"text": "", "finish_reason": "stop", "prompt_tokens": 12, "perf": {"generate_tokens": 2}}
CALL = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "f", "arguments": {"a": 1}},
    "arguments_text": '{"a": 1}',
}
# Without a signature, some clients take thoughts for a text.
SIGNED = {"signature": "rkllmd"}
USE = {"type": "tool_use", "id": "call_1", "name": "f"}


def test_thoughts_that_are_not_wanted_have_an_empty_block() -> None:
    making = MessageAnswer("demo", "msg_1", hides_thoughts=True)
    found = [*making.begin(), *making.partial({"text": "", "reasoning": "Hm."})]
    assert making.plain("reasoning", "More.") is None
    found += [*making.partial({"text": "", "reasoning": "More."}), *making.final({**FINAL, "text": "b"})]
    thoughts, text = blocks(found)
    assert (thoughts["type"], thoughts["deltas"]) == ("thinking", [SIGNED])
    assert text["deltas"] == [{"text": "b"}]
    whole = making.whole({**FINAL, "reasoning": "Hm.", "text": "b"})
    assert whole["content"] == [{"type": "thinking", "thinking": "", **SIGNED}, {"type": "text", "text": "b"}]


def answer() -> MessageAnswer:
    return MessageAnswer("demo", "msg_1")


def events(*results: dict[str, Any]) -> list[dict[str, Any]]:
    making = answer()
    found = [*making.begin()]
    for result in results:
        found += making.final(result) if "finish_reason" in result else making.partial(result)
    return found


def blocks(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the blocks that a client makes of events, each of which begins, grows and ends in its turn."""
    made: list[dict[str, Any]] = []
    is_open = False
    for event in found[1:-2]:
        kind = event["type"].removeprefix("content_block_")
        assert is_open == (kind != "start")
        assert event["index"] == len(made) - (kind != "start")
        is_open = kind != "stop"
        if kind == "start":
            made.append({**event["content_block"], "deltas": []})
        elif kind == "delta":
            made[-1]["deltas"].append({name: value for name, value in event["delta"].items() if name != "type"})
    assert not is_open
    return made


def test_what_comes_grows_blocks_and_a_call_is_one_when_it_is_whole() -> None:
    head = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f"}}
    tail = {**CALL, "arguments_text": '{"a": 1}'}
    found = events(
        {"text": "", "reasoning": "H"},
        {"text": "", "reasoning": "m."},
        {"text": "a", "tool_calls": [head]},
        {"text": "", "tool_calls": [tail]},
        {**FINAL, "text": "b", "tool_calls": [CALL], "finish_reason": "tool_calls"},
    )
    assert blocks(found) == [
        {
            "type": "thinking",
            "thinking": "",
            "signature": "",
            "deltas": [{"thinking": "H"}, {"thinking": "m."}, SIGNED],
        },
        {"type": "text", "text": "", "deltas": [{"text": "a"}]},
        {**USE, "input": {}, "deltas": [{"partial_json": '{"a": 1}'}]},
        {"type": "text", "text": "", "deltas": [{"text": "b"}]},
    ]
    first, *_, told, last = found
    assert (first["type"], first["message"]["content"], first["message"]["stop_reason"]) == ("message_start", [], None)
    assert told["type"] == "message_delta"
    assert told["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert (told["usage"]["input_tokens"], told["usage"]["output_tokens"]) == (12, 2)
    assert last == {"type": "message_stop"}


def test_a_whole_answer_has_the_same_blocks() -> None:
    whole = answer().whole({**FINAL, "text": "a", "reasoning": "Hm.", "tool_calls": [CALL]})
    assert whole["content"] == [
        {"type": "thinking", "thinking": "Hm.", **SIGNED},
        {"type": "text", "text": "a"},
        {**USE, "input": {"a": 1}},
    ]
    assert answer().whole({**FINAL, "tool_calls": [CALL]})["content"] == [{**USE, "input": {"a": 1}}]


def test_an_empty_answer_is_an_empty_text() -> None:
    assert blocks(events(FINAL)) == [{"type": "text", "text": "", "deltas": []}]
    assert answer().whole(FINAL)["content"] == [{"type": "text", "text": ""}]


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        ({}, "end_turn"),
        ({"finish_reason": "length"}, "max_tokens"),
        ({"finish_reason": "timeout"}, "max_tokens"),
        ({"stop_sequence": "x"}, "stop_sequence"),
    ],
)
def test_it_says_why_it_has_ended(ended: dict[str, Any], reason: str) -> None:
    whole = answer().whole({**FINAL, **ended})
    assert (whole["stop_reason"], whole["stop_sequence"]) == (reason, ended.get("stop_sequence"))


def test_waiting_is_a_ping_and_a_run_that_was_stopped_an_error() -> None:
    assert list(answer().idle()) == [{"type": "ping"}]
    with pytest.raises(Failure) as stopped:
        answer().whole({**FINAL, "finish_reason": "abort"})
    assert answer().error(stopped.value)["error"]["type"] == "api_error"

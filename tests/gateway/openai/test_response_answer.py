"""The daemon's results as the events of /v1/responses, and as one response."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.openai.response_answer import ResponseAnswer

FINAL: dict[str, Any] = {"text": "", "finish_reason": "stop", "prompt_tokens": 12, "cached_tokens": 9}
FUNCTION = {"name": "f", "arguments": {"a": 1}}
CALL = {"id": "call_1", "type": "function", "function": FUNCTION, "arguments_text": '{"a":1}'}


def answer() -> ResponseAnswer:
    return ResponseAnswer("demo", "resp_1", 7, {"instructions": "Be brief."})


def events(*results: dict[str, Any]) -> list[dict[str, Any]]:
    making = answer()
    found = [*making.begin()]
    for result in results:
        found += making.final(result) if "finish_reason" in result else making.partial(result)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def test_the_ladder_of_an_answer_that_thinks_speaks_and_calls() -> None:
    shown = events({"reasoning": "b"}, {"text": "a"}, {"text": "c"}, {"tool_calls": [{"index": 0, **CALL}]}, FINAL)
    assert [event["type"].removeprefix("response.") for event in shown] == [
        "created",
        "in_progress",
        *("output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done"),
        *("content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done"),
        *("content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"),
        "completed",
    ]
    response = shown[-1]["response"]
    thoughts, message, call = response["output"]
    assert (thoughts["content"][0]["text"], message["content"][0]["text"]) == ("b", "ac")
    assert (call["call_id"], call["name"], call["arguments"]) == ("call_1", "f", '{"a":1}')
    assert (response["status"], response["instructions"], response["store"]) == ("completed", "Be brief.", False)
    assert response["usage"]["input_tokens_details"]["cached_tokens"] == 9
    for index, item in enumerate(response["output"]):
        ids = {event["item_id"] for event in shown if event.get("output_index") == index and "item_id" in event}
        assert ids == {item["id"]}


def test_an_answer_that_was_cut_off_is_incomplete_and_one_of_nothing_is_an_empty_message() -> None:
    shown = events({**FINAL, "finish_reason": "length"})
    assert shown[-1]["type"] == "response.incomplete"
    assert shown[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["content"][0]["text"] for item in shown[-1]["response"]["output"]] == [""]


def test_the_whole_response_is_what_a_stream_ends_with() -> None:
    told = {**FINAL, "text": "a", "reasoning": "b", "tool_calls": [CALL]}
    streamed = events({"reasoning": "b"}, {"text": "a"}, {"tool_calls": [{"index": 0, **CALL}]}, FINAL)
    assert answer().whole(told) == streamed[-1]["response"]


def test_an_error_ends_a_stream() -> None:
    making = answer()
    with pytest.raises(Failure) as failed:
        [*making.final({**FINAL, "finish_reason": "abort"})]
    shown = making.error(failed.value)
    assert (shown["type"], shown["code"]) == ("error", "Cancelled")
    assert shown["error"]["message"] == shown["message"]


@pytest.mark.parametrize("name", ["summary", "generate_summary"])
def test_thoughts_are_the_summary_that_is_asked_for(name: str) -> None:
    making = ResponseAnswer("demo", "resp_1", 7, {"reasoning": {name: "auto"}})
    shown = [*making.partial({"reasoning": "b"}), *making.partial({"reasoning": "c"}), *making.final(FINAL)]
    plain = {"item_id": "rs_10", "output_index": 0, "summary_index": 0}
    part = {"type": "summary_text", "text": "bc"}
    assert [{**event, "sequence_number": 0, "type": event["type"][9:]} for event in shown[1:6]] == [
        {"sequence_number": 0, **plain, **told}
        for told in (
            {"type": "reasoning_summary_part.added", "part": {**part, "text": ""}},
            {"type": "reasoning_summary_text.delta", "delta": "b"},
            {"type": "reasoning_summary_text.delta", "delta": "c"},
            {"type": "reasoning_summary_text.done", "text": "bc"},
            {"type": "reasoning_summary_part.done", "part": part},
        )
    ]
    assert (shown[0]["item"]["summary"], shown[0]["item"]["content"]) == ([], [])
    whole = ResponseAnswer("demo", "resp_1", 7, {"reasoning": {name: "auto"}}).whole({**FINAL, "reasoning": "bc"})
    assert whole["output"][0] == shown[6]["item"]
    assert (shown[6]["item"]["summary"], shown[6]["item"]["content"]) == ([part], [])

"""The daemon's results as chunks and as one answer."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.openai.chat_answer import ChatAnswer

PERF = {"prefill_tokens": 3, "prefill_time_ms": 30.0, "generate_tokens": 2, "generate_time_ms": 0.0}
FINAL = {"text": "", "finish_reason": "stop", "prompt_tokens": 12, "cached_tokens": 9, "perf": PERF}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "f", "arguments": {"a": 1}},
    "arguments_text": '{"a":1}',
}


def answer(*, includes_usage: bool = False) -> ChatAnswer:
    return ChatAnswer("demo", "chatcmpl-1", 7, includes_usage=includes_usage)


def deltas(*results: dict[str, Any]) -> list[dict[str, Any]]:
    making = answer()
    chunks = [*making.begin()]
    for result in results:
        chunks += making.final(result) if "finish_reason" in result else making.partial(result)
    return [{**chunk["choices"][0]["delta"], "end": chunk["choices"][0]["finish_reason"]} for chunk in chunks]


def test_the_role_comes_once_and_the_end_says_nothing_else() -> None:
    assert deltas({"text": "a"}, {"text": ""}, {"reasoning": "b", "text": ""}, {**FINAL, "text": "c"}) == [
        {"role": "assistant", "content": "", "end": None},
        {"content": "a", "end": None},
        {"reasoning_content": "b", "end": None},
        {"content": "c", "end": None},
        {"end": "stop"},
    ]


def test_a_call_comes_whole_before_the_end() -> None:
    head = {"index": 1, "id": "call_1", "type": "function", "function": {"name": "f"}}
    shown = deltas(
        {"text": "", "tool_calls": [{"index": 0, "id": "call_0", "type": "function", "function": {"name": "g"}}]},
        {"text": "{…", "tool_calls": [{"index": 0, "dropped": True}, {**head, "arguments_text": '{"a"'}]},
        {"text": "", "tool_calls": [{"index": 1, "arguments_text": ":1}", "function": CALL["function"]}]},
        {**FINAL, "tool_calls": [CALL], "finish_reason": "tool_calls"},
    )
    function = {"name": "f", "arguments": '{"a":1}'}
    assert shown[1:] == [
        {"content": "{…", "end": None},
        {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}], "end": None},
        {"end": "tool_calls"},
    ]


def test_tokens_are_counted_in_a_last_chunk_where_that_is_wanted() -> None:
    *_, end, count = answer(includes_usage=True).final(FINAL)
    assert end["timings"]["prompt_per_second"] == 100.0
    assert end["timings"]["predicted_per_second"] == 0.0
    assert (count["choices"], count["usage"]) == (
        [],
        {
            "prompt_tokens": 12,
            "completion_tokens": 2,
            "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 9},
        },
    )
    assert "usage" not in [*answer().final(FINAL)][-1]


def test_the_whole_answer_has_everything() -> None:
    whole = answer().whole({**FINAL, "reasoning": "b", "tool_calls": [CALL], "finish_reason": "tool_calls"})
    choice = whole["choices"][0]
    function = {"name": "f", "arguments": '{"a":1}'}
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "reasoning_content": "b",
        "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
    }
    assert (choice["finish_reason"], whole["object"], whole["model"]) == ("tool_calls", "chat.completion", "demo")
    assert whole["usage"]["total_tokens"] == 14


@pytest.mark.parametrize(("reason", "shown"), [("length", "length"), ("timeout", "length"), ("stop", "stop")])
def test_why_it_ended(reason: str, shown: str) -> None:
    assert answer().whole({**FINAL, "finish_reason": reason})["choices"][0]["finish_reason"] == shown


def test_a_run_that_was_stopped_is_an_error() -> None:
    with pytest.raises(Failure):
        answer().whole({**FINAL, "finish_reason": "abort"})
    with pytest.raises(Failure):
        [*answer().final({**FINAL, "finish_reason": "abort"})]


def test_a_runtime_that_counts_nothing_has_no_timings() -> None:
    whole = answer().whole({"text": "a", "finish_reason": "stop"})
    assert "timings" not in whole
    assert whole["usage"]["total_tokens"] == 0


def test_several_answers_have_their_places_and_are_counted_together() -> None:
    making = ChatAnswer("demo", "chatcmpl-1", 7, includes_usage=True, choices=2)
    chunks = [*making.begin(), *making.final({**FINAL, "text": "a"}), *making.final({**FINAL, "text": "b"})]
    *parts, count = chunks
    shown = [(part["choices"][0]["index"], part["choices"][0]["delta"].get("content")) for part in parts]
    assert shown == [(0, ""), (0, "a"), (0, None), (1, ""), (1, "b"), (1, None)]
    assert (count["usage"]["prompt_tokens"], count["usage"]["completion_tokens"]) == (12, 4)
    making = ChatAnswer("demo", "chatcmpl-1", 7, includes_usage=False, choices=2)
    making.whole({**FINAL, "text": "a"})
    whole = making.whole({**FINAL, "text": "b"})
    assert [(item["index"], item["message"]["content"]) for item in whole["choices"]] == [(0, "a"), (1, "b")]
    assert whole["usage"] == count["usage"]


def test_how_likely_tokens_were_comes_with_the_next_piece() -> None:
    def told(*names: str) -> list[dict[str, Any]]:
        return [{"token_id": 1, "token": name, "bytes": [], "logprob": -1.0, "top_logprobs": []} for name in names]

    making = answer()
    chunks = [
        *making.begin(),
        *making.partial({"text": "", "logprobs": told("a")}),
        *making.partial({"text": "ab", "reasoning": "Hm.", "logprobs": told("b")}),
        *making.final({**FINAL, "text": "", "logprobs": told("c")}),
    ]
    shown = [chunk["choices"][0]["logprobs"] for chunk in chunks if chunk["choices"]]
    names = [None if item is None else [token["token"] for token in item["content"]] for item in shown]
    assert names == [None, ["a", "b"], None, ["c"]]
    whole = answer().whole({**FINAL, "text": "ab", "logprobs": told("a", "b")})["choices"][0]["logprobs"]
    assert [token["token"] for token in whole["content"]] == ["a", "b"]
    assert answer().whole({**FINAL, "text": "ab"})["choices"][0]["logprobs"] is None

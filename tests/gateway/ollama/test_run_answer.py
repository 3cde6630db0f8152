"""The daemon's results as Ollama's lines."""

from __future__ import annotations

import time
from typing import Any

import pytest

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.ollama.run_answer import GENERATE, RunAnswer
from rkllmd.gateway.run import Wanted

PERF = {"prefill_tokens": 3, "prefill_time_ms": 30.5, "generate_tokens": 2, "generate_time_ms": 0.25}
FINAL = {"text": "", "finish_reason": "stop", "prompt_tokens": 12, "perf": PERF}
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}


def answer(*, is_chat: bool = True) -> RunAnswer:
    return RunAnswer("demo", "2026-11-28T00:00:00Z", 0, is_chat=is_chat)


def messages(*results: dict[str, Any]) -> list[dict[str, Any]]:
    making = answer()
    lines = [*making.begin()]
    for result in results:
        lines += making.final(result) if "finish_reason" in result else making.partial(result)
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    return [line["message"] for line in lines]


def test_what_comes_is_a_line_and_a_call_when_it_is_whole() -> None:
    head = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f"}}
    assert messages(
        {"text": ""},
        {"text": "", "reasoning": "Hm."},
        {"text": "a", "tool_calls": [head]},
        {"text": "", "tool_calls": [CALL]},
        {**FINAL, "text": "b", "tool_calls": [CALL]},
    ) == [
        {"role": "assistant", "content": "", "thinking": "Hm."},
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
        {"role": "assistant", "content": "b"},
        {"role": "assistant", "content": ""},
    ]


def test_durations_are_whole_nanoseconds() -> None:
    whole = answer().whole({**FINAL, "text": "a"})
    assert whole["message"] == {"role": "assistant", "content": "a"}
    assert (whole["done"], whole["done_reason"]) == (True, "stop")
    numbers = [whole[name] for name in ("prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration")]
    assert numbers == [12, 30_500_000, 2, 250_000]
    assert all(type(number) is int for number in [*numbers, whole["total_duration"], whole["load_duration"]])


def test_the_whole_duration_begins_with_the_request() -> None:
    wanted = Wanted("demo", began_ns=time.monotonic_ns() - 10**9)
    assert GENERATE.answer(wanted, "demo").whole({**FINAL, "text": "a"})["total_duration"] >= 10**9


def test_a_runtime_that_counts_nothing_gives_numbers_too() -> None:
    whole = answer(is_chat=False).whole({"text": "a", "finish_reason": "length"})
    assert (whole["response"], whole["done_reason"], whole["eval_duration"]) == ("a", "length", 0)


@pytest.mark.parametrize("reason", ["load", "unload"])
def test_a_model_that_is_loaded_or_unloaded_says_nothing(reason: str) -> None:
    whole = answer().whole({"text": "", "finish_reason": reason})
    assert (whole["message"]["content"], whole["done_reason"], whole["eval_count"]) == ("", reason, 0)


def test_waiting_shows_an_empty_piece() -> None:
    [line] = answer(is_chat=False).idle()
    assert (line["response"], line["done"]) == ("", False)


def test_a_run_that_was_stopped_is_an_error() -> None:
    with pytest.raises(Failure) as stopped:
        answer().whole({**FINAL, "finish_reason": "abort"})
    assert answer().error(stopped.value) == {"error": stopped.value.message}


@pytest.mark.parametrize("is_chat", [True, False])
def test_how_likely_tokens_were_comes_with_the_next_line(*, is_chat: bool) -> None:
    token = {"token_id": 1, "token": "a", "bytes": [97], "logprob": -1.0, "top_logprobs": []}
    shown = {"token": "a", "bytes": [97], "logprob": -1.0, "top_logprobs": []}
    making = answer(is_chat=is_chat)
    lines = [
        *making.partial({"text": "", "logprobs": [token]}),
        *making.partial({"text": "a", "logprobs": []}),
        *making.final({**FINAL, "logprobs": [token]}),
    ]
    assert [line.get("logprobs") for line in lines] == [[shown], [shown]]
    assert answer(is_chat=is_chat).whole({**FINAL, "logprobs": [token]})["logprobs"] == [shown]
    assert "logprobs" not in answer(is_chat=is_chat).whole(FINAL)

"""A text that is gone on with: the request, and the daemon's results as chunks and as one answer."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.openai.completion import CompletionAnswer, read

FINAL: dict[str, Any] = {"text": "c", "finish_reason": "length", "prompt_tokens": 3}
PERF = {"prefill_time_ms": 1.0, "prefill_tokens": 3, "generate_time_ms": 1.0, "generate_tokens": 1}


def answer(prompt: str = "", *, includes_usage: bool = False) -> CompletionAnswer:
    return CompletionAnswer("demo", "cmpl-1", 7, [prompt], includes_usage=includes_usage)


@pytest.mark.parametrize("prompt", ["Once", ["Once"]])
def test_a_prompt_is_given_as_it_is(prompt: Any) -> None:
    wanted = read({"model": "m", "prompt": prompt, "max_tokens": 5, "seed": 1, "stream": True})
    assert wanted.params == {"prompt": "Once", "bare": True, "max_new_tokens": 5, "seed": 1}
    assert (wanted.model, wanted.streams, wanted.choices) == ("m", True, 1)


def test_a_gap_and_an_echo() -> None:
    wanted = read({"prompt": "def f(", "suffix": "\n", "echo": True, "best_of": 1})
    assert (wanted.params["suffix"], wanted.for_answer) == ("\n", {"begins": ["def f("]})


def test_each_prompt_has_its_answers_one_after_the_other() -> None:
    wanted = read({"prompt": ["a", "b"], "n": 2, "best_of": 2, "seed": 5, "max_tokens": 3})
    asked = [wanted.choice(index).params for index in range(wanted.choices)]
    assert [(params["prompt"], params["seed"]) for params in asked] == [("a", 5), ("a", 6), ("b", 5), ("b", 6)]
    assert all(params["bare"] and params["max_new_tokens"] == 3 for params in asked)
    assert read({"prompt": ["a"] * 32}).choices == 32


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("prompt", {}),
        ("prompt", {"prompt": [1, 2]}),
        ("prompt", {"prompt": [[1, 2]]}),
        ("prompt", {"prompt": ["a", 1]}),
        ("prompt", {"prompt": ["a"] * 33}),
        ("prompt", {"prompt": ["a"] * 5, "n": 7}),
        ("n", {"prompt": "a", "n": 9}),
        ("prompt", {"prompt": []}),
        ("prompt", {"prompt": {}}),
        ("logprobs", {"prompt": "a", "logprobs": 21}),
        ("logprobs", {"prompt": "a", "logprobs": True}),
        ("logprobs", {"prompt": "a", "logprobs": 0, "echo": True}),
        ("best_of", {"prompt": "a", "best_of": 2}),
        ("best_of", {"prompt": "a", "best_of": 1, "n": 2}),
        ("messages", {"prompt": "a", "messages": []}),
    ],
)
def test_what_cannot_be_served_is_named(name: str, body: dict[str, Any]) -> None:
    with pytest.raises(WrongField) as refused:
        read(body)
    assert refused.value.name == name


def test_a_stream_ends_with_an_empty_chunk_and_what_it_took() -> None:
    making = answer("Once", includes_usage=True)
    *chunks, count = [
        *making.begin(),
        *making.partial({"text": "a"}),
        *making.partial({"text": ""}),
        *making.final(FINAL),
    ]
    shown = [(chunk["choices"][0]["text"], chunk["choices"][0]["finish_reason"]) for chunk in chunks]
    assert shown == [("Once", None), ("a", None), ("c", None), ("", "length")]
    assert (count["choices"], count["usage"]["prompt_tokens"]) == ([], 3)


def test_the_whole_answer() -> None:
    whole = answer("Once").whole(FINAL)
    assert (whole["object"], whole["choices"][0]["text"], whole["usage"]["total_tokens"]) == (
        "text_completion",
        "Oncec",
        3,
    )
    with pytest.raises(Failure):
        answer().whole({**FINAL, "finish_reason": "abort"})


def several(*, includes_usage: bool) -> CompletionAnswer:
    return CompletionAnswer("demo", "cmpl-1", 7, ["One", "Two"], includes_usage=includes_usage, choices=4)


def test_several_answers_are_told_by_their_index_and_counted_together() -> None:
    making = several(includes_usage=True)
    chunks = [*making.begin()]
    for _ in range(4):
        chunks += making.final({**FINAL, "perf": PERF})
    *chunks, count = chunks
    texts: dict[int, str] = {}
    for chunk in chunks:
        [choice] = chunk["choices"]
        texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    assert texts == {0: "Onec", 1: "Onec", 2: "Twoc", 3: "Twoc"}
    assert (count["choices"], count["usage"]["prompt_tokens"], count["usage"]["completion_tokens"]) == ([], 6, 4)
    making = several(includes_usage=False)
    for _ in range(4):
        whole = making.whole({**FINAL, "perf": PERF})
    assert [(choice["index"], choice["text"]) for choice in whole["choices"]] == [*texts.items()]
    assert whole["usage"] == count["usage"]


def test_how_likely_tokens_were_is_told_of_each_answer_from_its_beginning() -> None:
    assert read({"prompt": "a", "logprobs": 3}).params["logprobs"] == 3
    tokens = [{"token": "ab", "bytes": [97, 98], "logprob": -1.0, "top_logprobs": []}]
    making = several(includes_usage=False)
    told = []
    for _ in range(4):
        chunks = [*making.partial({"text": "ab", "logprobs": tokens}), *making.final({**FINAL, "logprobs": tokens})]
        told += [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [item["text_offset"] for item in told if item is not None] == [[0], [2]] * 4
    making = several(includes_usage=False)
    for _ in range(4):
        whole = making.whole({**FINAL, "logprobs": tokens * 2})
    assert [choice["logprobs"]["text_offset"] for choice in whole["choices"]] == [[0, 2]] * 4

"""What several answers took together."""

from __future__ import annotations

from typing import Any

from rkllmd.gateway.openai.counting import Counting


def result(prompt: int, cached: int, made: int) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "cached_tokens": cached, "perf": {"generate_tokens": made}}


def test_what_was_read_for_several_answers_counts_once() -> None:
    counting = Counting(answers=4, to_each=2)
    places = []
    for prompt, cached, made in ((5, 1, 10), (5, 5, 20), (7, 0, 30), (7, 7, 40)):
        assert not counting.is_over
        places.append((counting.index, counting.prompt))
        usage = counting.add(result(prompt, cached, made))
    assert counting.is_over
    assert places == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert usage == {
        "prompt_tokens": 12,
        "completion_tokens": 100,
        "total_tokens": 112,
        "prompt_tokens_details": {"cached_tokens": 1},
    }


def test_one_answer_is_what_it_took() -> None:
    counting = Counting()
    usage = counting.add(result(3, 2, 4))
    assert counting.is_over
    assert (usage["total_tokens"], usage["prompt_tokens_details"]) == (7, {"cached_tokens": 2})

"""The fields that OpenAI's requests share."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.fields import Fields, WrongField
from rkllmd.gateway.openai import request
from rkllmd.gateway.sampling import SEEDS


@pytest.mark.parametrize(
    ("given", "params"),
    [
        ({}, {}),
        ({"max_tokens": 5, "max_completion_tokens": 3, "stop": "a"}, {"max_new_tokens": 3, "stop": ["a"]}),
        ({"max_tokens": -1, "max_completion_tokens": 3}, {"max_new_tokens": 3}),
        ({"max_tokens": -1}, {}),
        ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
    ],
)
def test_limits(given: dict[str, Any], params: dict[str, Any]) -> None:
    assert request.limits(Fields(given)) == params


@pytest.mark.parametrize("limit", [0, -2])
def test_a_limit_lets_the_model_say_something(limit: int) -> None:
    with pytest.raises(WrongField, match="max_tokens must be a whole number of at least 1, or -1"):
        request.limits(Fields({"max_tokens": limit}))


def test_what_is_left_says_how_the_answer_comes() -> None:
    given = {"model": "a", "stream": True, "stream_options": {"include_usage": True}, "user": "u", "n": 1}
    wanted = request.finish(Fields(given), {"p": 1}, {"prompt": "Once"})
    assert (wanted.model, wanted.params, wanted.for_answer) == ("a", {"p": 1}, {"prompt": "Once"})
    assert wanted.streams
    assert wanted.includes_usage


@pytest.mark.parametrize("name", ["n", "other", "logit_bias"])
def test_what_is_left_over_is_refused(name: str) -> None:
    with pytest.raises(WrongField) as refused:
        request.finish(Fields({name: 2}), {})
    assert refused.value.name == name


def test_each_of_several_answers_has_a_seed_of_its_own() -> None:
    last = SEEDS - 1
    assert request.choices(Fields({"n": 2}), {"seed": last}) == [{"seed": last}, {"seed": 0}]
    assert request.choices(Fields({}), {}) == [{}]
    with pytest.raises(WrongField, match="8 at most"):
        request.choices(Fields({"n": 9}), {})

"""How likely tokens were: as it is asked for, and as it is told."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.fields import Fields, WrongField
from rkllmd.gateway.logprobs import told
from rkllmd.gateway.logprobs.told import Told

OTHER = {"token_id": 3, "token": "b", "bytes": [98], "logprob": -1.0}
TOKEN = {"token_id": 2, "token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": [OTHER]}


@pytest.mark.parametrize(
    ("given", "params"),
    [
        ({}, {}),
        ({"logprobs": False, "top_logprobs": 0}, {}),
        ({"logprobs": True}, {"logprobs": 0}),
        ({"logprobs": True, "top_logprobs": 20}, {"logprobs": 20}),
    ],
)
def test_it_is_a_number_of_the_likeliest(given: dict[str, Any], params: dict[str, Any]) -> None:
    assert told.take(Fields(given)) == params


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], name: str) -> None:
    with pytest.raises(WrongField) as refused:
        told.take(Fields(given))
    assert refused.value.name == name


def test_each_token_is_told_once() -> None:
    likely = Told()
    for result in ({}, {"logprobs": None}, {"logprobs": [TOKEN]}, {"logprobs": [TOKEN]}):
        likely.add(result)
    assert likely.take() == [TOKEN, TOKEN]
    assert likely.take() == []


def test_its_number_is_nobodys_business() -> None:
    other = {"token": "b", "bytes": [98], "logprob": -1.0}
    assert told.shown([TOKEN]) == [{"token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": [other]}]

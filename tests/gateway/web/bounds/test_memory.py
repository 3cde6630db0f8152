"""What all hold together is counted, and given back."""

from __future__ import annotations

import orjson

from rkllmd.gateway.web.bounds.memory import Memory, json_cost


def test_what_is_given_back_may_be_taken_again() -> None:
    account = Memory(100, 60)
    assert [account.take(60), account.take(41), account.take(40)] == [True, False, True]
    account.give_back(60)
    assert account.take(60)
    assert account.held == 100


def test_values_cost_more_than_their_text() -> None:
    lists, text = orjson.dumps([[]] * 1000), orjson.dumps("x" * 3001)
    assert len(lists) == len(text) - 2
    assert json_cost(lists) > 10 * json_cost(text)

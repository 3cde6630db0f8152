"""What all protocols hold of a run."""

from __future__ import annotations

import pytest

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.run import (
    Wanted,
    WholeCalls,
    arguments_text,
    cached_tokens,
    check_ended,
    generated_tokens,
    prompt_tokens,
)


def test_an_answer_that_somebody_else_has_ended_is_no_answer() -> None:
    assert check_ended({"finish_reason": "stop"}) == {"finish_reason": "stop"}
    for reason in ("abort", "pause"):
        with pytest.raises(Failure, match="somebody else"):
            check_ended({"finish_reason": reason})


def test_the_end_of_the_daemon_is_told_as_such() -> None:
    with pytest.raises(Failure, match="the daemon was asked to end") as told:
        check_ended({"finish_reason": "abort", "shutting_down": True})
    assert (told.value.status, told.value.kind, told.value.again) == (502, "ShuttingDown", True)


def test_a_call_is_shown_when_it_has_ended() -> None:
    calls = WholeCalls()
    head = {"index": 0, "id": "a", "function": {"name": "f"}, "arguments_text": '{"a": '}
    assert not list(calls.take({"tool_calls": [head, {"index": 1, "id": "b", "function": {"name": "g"}}]}))
    assert not list(calls.take({"tool_calls": [{"index": 1, "dropped": True}]}))
    end = {"index": 0, "function": {"name": "f", "arguments": {"a": 1}}, "arguments_text": "1}"}
    [whole] = calls.take({"tool_calls": [end]})
    assert (whole["id"], arguments_text(whole)) == ("a", '{"a": 1}')


def test_a_client_may_want_one_call_only() -> None:
    ended = [{"index": index, "function": {"name": "f", "arguments": {}}} for index in range(2)]
    result = {"tool_calls": ended}
    for single, many in ((True, 1), (False, 2)):
        calls = WholeCalls(single=single)
        assert [call["index"] for call in calls.take(result)] == [call["index"] for call in calls.all(result)]
        assert len(calls.all(result)) == many
    assert WholeCalls().all({"text": ""}) == []


def test_arguments_that_were_no_json_become_it() -> None:
    assert arguments_text({"function": {"name": "f", "arguments": {"a": 1}}}) == '{"a":1}'
    assert arguments_text({"function": {"name": "f", "arguments": None}}) == "{}"


def test_of_several_answers_each_has_something_of_its_own() -> None:
    wanted = Wanted("m", {"seed": 5, "stop": ["a"]}, further=[{"seed": 6}, {"prompt": "b"}])
    assert wanted.choices == 3
    assert [wanted.choice(index).params for index in range(3)] == [
        {"seed": 5, "stop": ["a"]},
        {"seed": 6, "stop": ["a"]},
        {"seed": 5, "stop": ["a"], "prompt": "b"},
    ]
    assert Wanted("m").choices == 1


def test_tokens_are_counted_as_far_as_they_are_known() -> None:
    def counted(**result: object) -> tuple[int, int, int]:
        return prompt_tokens(result), cached_tokens(result), generated_tokens(result)

    perf = {"prefill_tokens": 3, "generate_tokens": 2}
    assert counted(prompt_tokens=12, cached_tokens=9, perf=perf) == (12, 9, 2)
    assert counted(perf=perf) == (3, 0, 2)
    assert counted(prompt_tokens=None, cached_tokens=None, perf=None) == (0, 0, 0)

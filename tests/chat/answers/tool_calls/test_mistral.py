"""Calls of Mistral, before and after its tokenizer v11."""

from __future__ import annotations

import pytest

from tests.chat.answers.whole import Whole, paris, read_in_all_ways

JSON = '{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "abcdefghi"}'


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (f"[TOOL_CALLS] [{JSON}]", Whole(calls=[paris()])),
        (f"[TOOL_CALLS][{JSON}, {JSON}]", Whole(calls=[paris(), paris()])),
        (f"[TOOL_CALLS]{JSON}", Whole(calls=[paris()])),
        ('I look.[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}', Whole("I look.", calls=[paris()])),
        ('[TOOL_CALLS]get_weather{"city": "Paris"}', Whole(calls=[paris()])),
        ('[TOOL_CALLS]get_weather[CALL_ID]123456789[ARGS]{"city": "Paris"}', Whole(calls=[paris()])),
        (
            '[TOOL_CALLS]search[ARGS]{"query": "[TOOL_CALLS]"}[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}',
            Whole(calls=[("search", {"query": "[TOOL_CALLS]"}), paris()]),
        ),
    ],
)
def test_calls(text: str, whole: Whole) -> None:
    assert read_in_all_ways("mistral", text) == whole


@pytest.mark.parametrize(
    "text",
    [
        "[TOOL_CALLS]",
        "[TOOL_CALLS] are what I write.",
        "[TOOL_CALLS][ARGS]{}",
        "[TOOL_CALLS]search[ARGS]",
        '[TOOL_CALLS]search[ARGS]{"a": ',
        "[TOOL_CALLS]search[ARGS]{bad}",
        "[TOOL_CALLS]" + "a" * 300 + "[ARGS]{}",
        "[1, 2]",
    ],
)
def test_what_is_no_call_is_text(text: str) -> None:
    assert read_in_all_ways("mistral", text) == Whole(text)

"""Calls of Gemma 3, FunctionGemma and Gemma 4."""

from __future__ import annotations

import pytest

from tests.chat.answers.whole import Whole, paris, read_in_all_ways

FUNCTION = "<start_function_call>call:get_weather{city:<escape>Paris<escape>,days:2}<end_function_call>"
FOURTH = '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:2}<tool_call|>'


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ('```tool_code\nget_weather(city="Paris", days=2)\n```', Whole(calls=[paris(days=2)])),
        ("I look.\n```tool_code\nprint(api.get_weather(city='Paris'))\n```\n", Whole("I look.", calls=[paris()])),
        (
            "```tool_code\nget_weather(city='Paris')\nsearch(query='```')\n```",
            Whole(calls=[paris(), ("search", {"query": "```"})]),
        ),
        ("```tool_code\nget_weather(city='Paris')", Whole(calls=[paris()])),
        (FUNCTION, Whole(calls=[paris(days=2)])),
        (f"{FUNCTION}\n{FUNCTION}", Whole(calls=[paris(days=2)] * 2)),
        (FOURTH, Whole(calls=[paris(days=2)])),
        (
            "<start_function_call>call:search{query:<escape>}{,<escape>}<end_function_call>",
            Whole(calls=[("search", {"query": "}{,"})]),
        ),
    ],
)
def test_calls(text: str, whole: Whole) -> None:
    assert read_in_all_ways("gemma", text) == whole


@pytest.mark.parametrize(
    "text",
    [
        "```python\nget_weather(city='Paris')\n```",
        "```tool_code\nx = 1 + 1\n```",
        "```tool_code\nget_weather('Paris')\n```",
        "```tool_code\nprint(1)\n```",
        "```tool_code\nprint(search(query='a')\n```",
        "```tool_code\n",
        "<start_function_call>search{}<end_function_call>",
        "<start_function_call>call:search<end_function_call>",
        "<start_function_call>call:{}<end_function_call>",
        "<start_function_call>call:search{query}<end_function_call>",
        "<start_function_call>call:search{a:1}",
    ],
)
def test_what_is_no_call_is_text(text: str) -> None:
    assert read_in_all_ways("gemma", text) == Whole(text)

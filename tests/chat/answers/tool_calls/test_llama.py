"""Calls of Llama 3."""

from __future__ import annotations

import pytest

from tests.chat.answers.whole import Whole, paris, read_in_all_ways

JSON = '{"name": "get_weather", "parameters": {"city": "Paris"}}'


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (JSON, Whole(calls=[paris()])),
        (f"\n\n{JSON}\n", Whole(calls=[paris()])),
        (f"{JSON}; {JSON}", Whole(calls=[paris(), paris()])),
        (f"{JSON}\n{JSON}", Whole(calls=[paris(), paris()])),
        (f"<|python_tag|>{JSON}", Whole(calls=[paris()])),
        (f"I look. <|python_tag|>{JSON}", Whole("I look.", calls=[paris()])),
        ('{"type": "function", "name": "search", "parameters": {}}', Whole(calls=[("search", {})])),
        ('<|python_tag|>{"name": "dance", "parameters": {}}', Whole(calls=[("dance", {})])),
        ('<|python_tag|>brave_search.call(query="Paris")', Whole(calls=[("brave_search", {"query": "Paris"})])),
        (f"{JSON} So it is.", Whole("So it is.", calls=[paris()])),
    ],
)
def test_calls(text: str, whole: Whole) -> None:
    assert read_in_all_ways("llama", text) == whole


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Bob", "age": 7}',
        '{"name": "dance", "parameters": {}}',  # without the mark, an unknown tool is an answer in JSON
        '{"name": "get_weather"}',
        '{"answer": {"name": "get_weather", "parameters": {}}}',
        f"Like this: {JSON}",
        "<|python_tag|>print(1 + 1)",
        "<|python_tag|>",
        "{",
        " ",
    ],
)
def test_what_is_no_call_is_text(text: str) -> None:
    assert read_in_all_ways("llama", text) == Whole(text)

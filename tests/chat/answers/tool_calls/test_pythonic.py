"""Calls written as Python."""

from __future__ import annotations

import pytest

from tests.chat.answers.whole import Whole, paris, read_in_all_ways


@pytest.mark.parametrize(
    ("code", "calls"),
    [
        ('get_weather(city="Paris")', [paris()]),
        ('[get_weather(city="Paris"), search(query="a)b")]', [paris(), ("search", {"query": "a)b"})]),
        ('get_weather(city="Paris"); search()', [paris(), ("search", {})]),
        ('get_weather(city="Paris")\nsearch()\n', [paris(), ("search", {})]),
        ("print(get_weather(city='Paris', days=2))", [paris(days=2)]),
        ('api.tools.get_weather(city="Paris")', [paris()]),
        ("[ search( ) ]", [("search", {})]),
    ],
)
def test_calls(code: str, calls: list[tuple[str, object]]) -> None:
    text = f"<|tool_call_start|>{code}<|tool_call_end|>"
    assert read_in_all_ways("minicpm", text) == Whole(calls=calls)  # type: ignore[arg-type]  # objects are JSON here


@pytest.mark.parametrize(
    ("code", "calls", "text"),
    [
        ("[search(), oops]", [("search", {})], ", oops]<|tool_call_end|>"),
        ("[search() search()]", [("search", {})], "search()]<|tool_call_end|>"),
        ("search() oops", [("search", {})], "oops<|tool_call_end|>"),
        ("search", [], "<|tool_call_start|>search<|tool_call_end|>"),
        ("5()", [], "<|tool_call_start|>5()<|tool_call_end|>"),
        ("a" * 300 + "()", [], f"<|tool_call_start|>{'a' * 300}()<|tool_call_end|>"),
        ("search(query='never", [], "<|tool_call_start|>search(query='never<|tool_call_end|>"),
    ],
)
def test_what_is_no_call_is_text(code: str, calls: list[tuple[str, object]], text: str) -> None:
    whole = read_in_all_ways("minicpm", f"<|tool_call_start|>{code}<|tool_call_end|>")
    assert whole == Whole(text, calls=calls)  # type: ignore[arg-type]  # objects are JSON here

"""Calls of MiniCPM and LFM2."""

from __future__ import annotations

import pytest

from tests.chat.answers.whole import Whole, paris, read_in_all_ways


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (
            '<|tool_call_start|>\n```python\nget_weather(city="Paris")\n```\n<|tool_call_end|>',
            Whole(calls=[paris()]),
        ),
        ('I look.\n<|tool_call_start|>[get_weather(city="Paris")]<|tool_call_end|>', Whole("I look.", calls=[paris()])),
        (
            '<|tool_call_start|>\n```json\n{"name": "search", "arguments": {}}\n```\n<|tool_call_end|>',
            Whole(calls=[("search", {})]),
        ),
        ('<|tool_call_start|>get_weather(city="Paris")', Whole(calls=[paris()])),
        ("<|tool_call_start|>", Whole("<|tool_call_start|>")),
        ("<|tool_call_start|>\n```python\npass\n```", Whole("<|tool_call_start|>\n```python\npass\n```")),
    ],
)
def test_calls(text: str, whole: Whole) -> None:
    assert read_in_all_ways("minicpm", text) == whole

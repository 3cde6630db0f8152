"""Calls between two marks."""

from __future__ import annotations

import pytest

from tests.chat.answers.whole import Whole, paris, read_in_all_ways

JSON = '{"name": "get_weather", "arguments": {"city": "Paris"}}'


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (f"<tool_call>\n{JSON}\n</tool_call>", Whole(calls=[paris()])),
        (f"<tool_call>{JSON}</tool_call>\n<tool_call>{JSON}</tool_call>\n", Whole(calls=[paris(), paris()])),
        (f"I look.\n\n<tool_call>\n{JSON}\n</tool_call>\n\nDone.", Whole("I look.\n\n\n\nDone.", calls=[paris()])),
        (f"<tool_call>\n{JSON}\n{JSON}\n</tool_call>", Whole(calls=[paris(), paris()])),
        # The end is missing.
        (f"<tool_call>\n{JSON}", Whole(calls=[paris()])),
        (f"<tool_call>\n{JSON}\n<tool_call>\n{JSON}", Whole(calls=[paris(), paris()])),
        (f"<tool_call>{JSON} So.", Whole("So.", calls=[paris()])),
        # A mark alone.
        ("The tag is <tool_call>, or not.", Whole("The tag is <tool_call>, or not.")),
        (f"`<tool_call>` then <tool_call>{JSON}</tool_call>", Whole("`<tool_call>` then", calls=[paris()])),
        ("a </tool_call> b", Whole("a </tool_call> b")),
        ("<tool_call>", Whole("<tool_call>")),
        ("<tool_cal", Whole("<tool_cal")),
        ("<tool_call>\n", Whole("<tool_call>\n")),
        # A tool that nobody has declared is the client's to refuse.
        ('<tool_call>{"name": "dance", "arguments": {}}</tool_call>', Whole(calls=[("dance", {})])),
        # JSON without the mark is what the user wants to see.
        (f"```json\n{JSON}\n```", Whole(f"```json\n{JSON}\n```")),
    ],
)
def test_hermes(text: str, whole: Whole) -> None:
    assert read_in_all_ways("hermes", text) == whole


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (f"<|tool_call|>[{JSON}]<|/tool_call|>", Whole(calls=[paris()])),
        (f"<|tool_call|>[{JSON}, {JSON}]<|/tool_call|>", Whole(calls=[paris(), paris()])),
        (f"<|tool_calls|>[{JSON}]<|/tool_calls|>", Whole(calls=[paris()])),
        (f"<|tool_call|>{JSON}", Whole(calls=[paris()])),
        (f"functools[{JSON}]", Whole(calls=[paris()])),
        ("Use functools.partial here.", Whole("Use functools.partial here.")),
        ("functools[0]", Whole("functools[0]")),
    ],
)
def test_phi(text: str, whole: Whole) -> None:
    assert read_in_all_ways("phi", text) == whole


def test_internlm() -> None:
    text = f"I look.<|action_start|><|plugin|>\n{JSON.replace('arguments', 'parameters')}<|action_end|>\n"
    assert read_in_all_ways("internlm", text) == Whole("I look.", calls=[paris()])

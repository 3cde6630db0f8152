"""Answers of GPT-OSS in messages on channels."""

from __future__ import annotations

import pytest

from rkllmd.chat.answers.dialect import choose
from tests.chat.answers.whole import Whole, paris, read_in_all_ways

THINK = "<|channel|>analysis<|message|>Weather, so I look.<|end|>"
CALL = (
    "<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json"
    '<|message|>{"city": "Paris"}<|call|>'
)
FINAL = "<|start|>assistant<|channel|>final<|message|>It rains."


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (f"{THINK}{FINAL}<|return|>", Whole("It rains.", "Weather, so I look.")),
        (f"{THINK}{FINAL}", Whole("It rains.", "Weather, so I look.")),
        (f"{THINK}{CALL}", Whole("", "Weather, so I look.", [paris()])),
        (
            '<|start|>assistant to=functions.get_weather<|channel|>commentary<|message|>{"city": "Paris"}<|call|>',
            Whole(calls=[paris()]),
        ),
        ("<|channel|>commentary<|message|>I look.<|end|>" + CALL, Whole("I look.", calls=[paris()])),
        (f"{THINK}<|start|>assistant{THINK}{FINAL}", Whole("It rains.", "Weather, so I look.\nWeather, so I look.")),
        ("<|channel|>analysis<|message|>never ends <|en", Whole("", "never ends <|en")),
        ("No channel at all.", Whole("No channel at all.")),
        ("<|channel|>", Whole("<|channel|>")),
        ("<|channel|>final", Whole("<|channel|>final")),
        ("<|channel|>final<b>x", Whole("<|channel|>final<b>x")),
        ("<|channel|>" + "a" * 300 + "<|message|>", Whole("<|channel|>" + "a" * 300 + "<|message|>")),
        ("<|channel|>x" + "<|channel|>" * 40 + "y", Whole("<|channel|>x" + "<|channel|>" * 40 + "y")),
        (
            "<|channel|>commentary to=functions.search<|message|>words<|call|>",
            Whole("<|channel|>commentary to=functions.search<|message|>words"),
        ),
    ],
)
def test_messages_on_channels(text: str, whole: Whole) -> None:
    assert read_in_all_ways("harmony", text) == whole


def test_thoughts_are_told_from_text_without_tools_and_a_call_is_text() -> None:
    assert read_in_all_ways("harmony", f"{THINK}{FINAL}", tools=[]) == Whole("It rains.", "Weather, so I look.")
    assert read_in_all_ways("harmony", CALL, tools=[]) == Whole('{"city": "Paris"}')


def test_it_is_chosen_by_its_template() -> None:
    dialect = choose("<|start|>assistant<|channel|>final<|message|>{{ content }}<|end|>")
    assert dialect.name == "harmony"
    assert read_in_all_ways(dialect, f"{THINK}{FINAL}<|end|>") == Whole("It rains.", "Weather, so I look.")

"""Calls of DeepSeek, from R1 to V3.1, and of what was distilled from them."""

from __future__ import annotations

import pytest

from tests.chat.answers.whole import Whole, paris, read_in_all_ways


def real(text: str, block: str = "\u2581") -> str:
    """Return a text with the marks as the model writes them."""
    for mark in ("calls begin", "calls end", "call begin", "call end", "sep"):
        text = text.replace(f"<|{mark}|>", f"<\uff5ctool {mark}\uff5c>".replace(" ", block))
    return text


R1 = '<|call begin|>function<|sep|>get_weather\n```json\n{"city": "Paris"}\n```<|call end|>'
V31 = '<|call begin|>get_weather<|sep|>{"city": "Paris"}<|call end|>'


@pytest.mark.parametrize("block", ["\u2581", "_", " "])
@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (f"<|calls begin|>{R1}<|calls end|>", Whole(calls=[paris()])),
        (f"I look.\n<|calls begin|>{R1}\n{R1}<|calls end|>", Whole("I look.", calls=[paris(), paris()])),
        (f"<|calls begin|>{V31}{V31}<|calls end|>", Whole(calls=[paris(), paris()])),
        (f"{V31}", Whole(calls=[paris()])),
        (f"<|calls begin|>{V31} So.", Whole("So.", calls=[paris()])),
        (f"<|calls begin|>{R1.partition('```<')[0]}", Whole(calls=[paris()])),
    ],
)
def test_calls(text: str, whole: Whole, block: str) -> None:
    assert read_in_all_ways("deepseek", real(text, block)) == whole


@pytest.mark.parametrize(
    "text",
    [
        "<|calls begin|>",
        "<|calls begin|> I think.",
        "<|call begin|>",
        "<|call begin|>search",
        "<|call begin|>search<b>",
        "<|call begin|>search<|sep|>words",
        "<|call begin|>function<|sep|>search",
        "<|call begin|>function<|sep|>search\n```json\n{bad}\n```",
        "<|call begin|>" + "a" * 300 + "<|sep|>{}",
        "a <|calls end|> b",
    ],
)
def test_what_is_no_call_is_text(text: str) -> None:
    assert read_in_all_ways("deepseek", real(text)) == Whole(real(text))

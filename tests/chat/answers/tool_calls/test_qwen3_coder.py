"""Calls whose arguments are plain text between tags."""

from __future__ import annotations

import pytest

from tests.chat.answers.whole import Whole, paris, read_in_all_ways

BODY = "<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>"
LIGHT = (
    "<function=set_light><parameter=on>True</parameter><parameter=level>\n0.5\n</parameter>"
    '<parameter=scene>{"color": [1, 2]}</parameter><parameter=note>7</parameter></function>'
)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (f"<tool_call>\n{BODY}\n</tool_call>", Whole(calls=[paris(days=2)])),
        (f"I look.\n{BODY}", Whole("I look.", calls=[paris(days=2)])),
        (f"{BODY}\n</tool_call>", Whole(calls=[paris(days=2)])),
        (f"<tool_call>\n{BODY}\n</tool_call>\n<tool_call>\n{BODY}\n</tool_call>", Whole(calls=[paris(days=2)] * 2)),
        (f"<tool_call>{BODY}\n{BODY}</tool_call>", Whole(calls=[paris(days=2)] * 2)),
        (f"{BODY} Done.", Whole("Done.", calls=[paris(days=2)])),
        (LIGHT, Whole(calls=[("set_light", {"on": True, "level": 0.5, "scene": {"color": [1, 2]}, "note": "7"})])),
        ("<function=search></function>", Whole(calls=[("search", {})])),
        # Only the line breaks next to the tags are theirs.
        (
            "<function=search><parameter=query>\n\n if a < b:\n  </b>\n\n</parameter></function>",
            Whole(calls=[("search", {"query": "\n if a < b:\n  </b>\n"})]),
        ),
        # JSON between the tags, as models write it that were told otherwise.
        ('<tool_call>{"name": "search", "arguments": {}}</tool_call>', Whole(calls=[("search", {})])),
        (f"<tool_call>{{}}</tool_call> {BODY}", Whole("<tool_call>{}</tool_call>", calls=[paris(days=2)])),
    ],
)
def test_calls(text: str, whole: Whole) -> None:
    assert read_in_all_ways("qwen3_coder", text) == whole


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call> then",
        "<function=>x</function>",
        "<function=" + "a" * 300 + "></function>",
        "<function=search",
        "<function=search>words</function>",
        "<function=search><parameter=query>never ends",
        "<function=search><parameter=query",
        "<function=search><parameter=" + "a" * 300,
        "<function=search><parameter=query>x</parameter>",
        "a <function= b",
    ],
)
def test_what_is_no_call_is_text(text: str) -> None:
    assert read_in_all_ways("qwen3_coder", text) == Whole(text)

"""What is reasoning of an answer."""

from __future__ import annotations

import pytest

from rkllmd.chat.answers.dialect import DIALECTS, choose
from rkllmd.chat.answers.events import Reasoning, Text
from rkllmd.chat.answers.reading import AnswerReader
from rkllmd.chat.answers.reasoning import KNOWN
from tests.chat.answers.whole import TOOLS, Whole, read, read_in_all_ways


@pytest.mark.parametrize("tags", KNOWN, ids=lambda tags: tags.opening)
def test_the_marks_of_each_kind_of_model(tags: object) -> None:
    (found,) = [each for each in KNOWN if each is tags]
    dialect = choose("{{ content.split('" + found.closing + "') }}")
    text = f"{found.opening}\nLet me see: a < b.\n{found.closing}\n\nIt is 4."
    assert read_in_all_ways(dialect, text) == Whole("It is 4.", "Let me see: a < b.")


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<think>\n\n</think>\n\nHello.", "", "Hello."),
        ("\n<think>a\n\nb</think>Hello.\n", "a\n\nb", "Hello.\n"),
        ("<think>it goes on and on ", "it goes on and on", ""),
        ("<think>a</thin", "a</thin", ""),
        ("<think>a</think>", "a", ""),
        ("<think>a</think> b </think> c", "a", "b </think> c"),
        # Not at the beginning: the model writes about it.
        ("Write <think> first.</think>", "", "Write <think> first.</think>"),
        ("<thin", "", "<thin"),
        ("  x", "", "  x"),
        ("<thinking>a</thinking>", "", "<thinking>a</thinking>"),
        ("", "", ""),
    ],
)
@pytest.mark.parametrize("tools", [True, False])
def test_reasoning_stands_at_the_beginning(text: str, reasoning: str, answer: str, tools: bool) -> None:
    assert read_in_all_ways("hermes", text, tools=TOOLS if tools else []) == Whole(answer, reasoning)


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("So it is.\n</think>\n\nYes.", "So it is.", "Yes."),
        ("<think>So it is.</think>Yes.", "So it is.", "Yes."),  # a model that opens it nevertheless
        ("it never ends", "it never ends", ""),
        ("</think>Yes.", "", "Yes."),
    ],
)
def test_the_prompt_may_have_opened_it(text: str, reasoning: str, answer: str) -> None:
    assert read_in_all_ways("deepseek", text, is_open=True) == Whole(answer, reasoning)


def test_each_mark_is_closed_by_its_own() -> None:
    dialect = choose("<think>{{ content.split('</think>') }} [THINK]{{ content.split('[/THINK]') }}")
    assert read_in_all_ways(dialect, "<think>a [/THINK] b</think>c") == Whole("c", "a [/THINK] b")
    assert read_in_all_ways(dialect, "a [/THINK] b", is_open=True) == Whole("b", "a")


def test_a_call_within_reasoning_is_none() -> None:
    text = '<think>I could <tool_call>{"name": "search", "arguments": {}}</tool_call>.</think>No.'
    assert read("hermes", [text]).calls == []


def test_only_what_can_become_the_closing_mark_waits_and_whitespace() -> None:
    reader = AnswerReader(DIALECTS["hermes"])
    assert [reader.feed(piece) for piece in ("<th", "ink>", "a", " b ", "<", "/", "b> ", "</think", ">", " ", "x")] == [
        [],
        [],
        [Reasoning("a")],
        [Reasoning(" b")],
        [],
        [],
        [Reasoning(" </b>")],
        [],
        [],
        [],
        [Text("x")],
    ]

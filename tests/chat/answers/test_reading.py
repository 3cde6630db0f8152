"""The parts of an answer together: stop strings, reasoning, text, calls; however it was cut, and whatever it is."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.chat.answers.dialect import DIALECTS
from rkllmd.chat.answers.events import CallArguments, CallBegan, CallDropped, CallEnded, Stopped, Text
from rkllmd.chat.answers.reading import AnswerReader
from tests.chat.answers import transcripts
from tests.chat.answers.transcripts import edited
from tests.chat.answers.whole import TOOLS, Whole, paris, read, read_in_all_ways

NAMES = sorted(DIALECTS)
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'

# What the dialects are made of, so that random answers nearly mean something.
BITS = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<function=get_weather>", "<parameter=city>", "</parameter>",
    "</function>", "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "<\uff5ctool\u2581calls\u2581begin\uff5c>",
    "<\uff5ctool\u2581call\u2581begin\uff5c>", "<\uff5ctool\u2581sep\uff5c>", "<\uff5ctool\u2581call\u2581end\uff5c>",
    "```tool_code", "```", "<start_function_call>", "<end_function_call>", "<escape>", "call:get_weather",
    "<|tool_call|>", "<|tool_call_start|>", "<|tool_call_end|>", "<|action_start|><|plugin|>", "<|action_end|>",
    '{"name": "get_weather", "arguments": ', '{"name": "get_weather", "parameters": ', '{"city": "Paris"}', "{", "}",
    "[", "]", "(", ")", '"', "'", "\\", ",", ":", ";", "get_weather", '(city="Paris")', "function", "\n", " ", "é€😀",
    "null", "<|start|>", "<|channel|>", "analysis", "<|message|>", "<|end|>", " to=functions.get_weather",
)  # fmt: skip
ANSWERS = st.lists(st.sampled_from(BITS), max_size=14).map("".join)


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(places)]


CHOSEN = st.tuples(st.sampled_from(NAMES), ANSWERS) | edited()


@given(CHOSEN, st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_how_an_answer_was_cut_makes_no_difference(chosen: tuple[str, str], cuts: list[int], is_open: bool) -> None:
    name, text = chosen
    whole = read(name, [text], is_open=is_open)
    assert read(name, pieces_of(text, cuts), is_open=is_open) == whole
    assert read(name, text, is_open=is_open) == whole


@given(CHOSEN)
def test_what_is_no_call_and_no_reasoning_is_text_to_the_letter(chosen: tuple[str, str]) -> None:
    name, text = chosen
    whole = read(name, [text])
    if not whole.calls and name != "harmony" and not text.lstrip().startswith("<think>"):
        assert whole.text == text


@pytest.mark.parametrize("name", NAMES)
def test_each_dialect_reads_its_own_answer(name: str) -> None:
    whole = read_in_all_ways(name, transcripts.ANSWERS[name])
    assert len(whole.calls) >= 1
    assert "<" not in whole.text + whole.reasoning


@given(st.sampled_from(NAMES), st.lists(st.text(), max_size=8), st.booleans())
def test_a_text_without_marks_is_neither_lost_nor_doubled(name: str, pieces: list[str], tools: bool) -> None:
    assert read(name, pieces, tools=TOOLS if tools else []) == Whole("".join(pieces))


@given(ANSWERS, st.lists(st.sampled_from(BITS), min_size=1, max_size=3), st.lists(st.integers(0, 400), max_size=6))
def test_what_stands_before_a_stop_string_is_all(text: str, stop: list[str], cuts: list[int]) -> None:
    found = read("hermes", pieces_of(text, cuts), stop=stop)
    places = [(text.index(string), -len(string), string) for string in stop if string in text]
    end, _, string = min(places, default=(len(text), 0, None))
    expected = read("hermes", [text[:end]])
    expected.stopped_by = string
    assert found == expected


ENDS = st.sampled_from([(), ("<|im_end|>", "<|end|>")])


@given(ANSWERS, st.lists(st.integers(0)), ENDS, st.lists(st.sampled_from(BITS), max_size=2), st.booleans())
def test_what_passes_is_text_and_need_not_be_read(
    text: str, cuts: list[int], ends: tuple[str, ...], stop: list[str], tools: bool
) -> None:
    dialect = replace(DIALECTS["hermes"], ends=ends)
    skipping, reading = (
        AnswerReader(dialect, stop=stop, tools=TOOLS if tools else (), new_id=lambda: "id") for _ in range(2)
    )
    for piece in filter(None, pieces_of(text, cuts)):
        if skipping.passes(piece):
            assert reading.feed(piece) == [Text(piece)]
        else:
            assert skipping.feed(piece) == reading.feed(piece)
    assert skipping.finish() == reading.finish()


def test_as_soon_as_nothing_but_text_can_come_it_passes() -> None:
    reader = AnswerReader(replace(DIALECTS["hermes"], ends=("<|im_end|>",)), stop=["STOP"])
    assert not reader.passes("a")
    assert reader.feed("a") == [Text("a")]
    assert [reader.passes(piece) for piece in ("b", "<think>", "S", " b")] == [True, False, False, True]
    reader.feed("S")
    assert not reader.passes("b")


def test_reasoning_text_and_calls_in_one_answer() -> None:
    text = f"<think>\nWeather.\n</think>\n\nI look.\n{CALL}\n{CALL}\n"
    assert read_in_all_ways("hermes", text) == Whole("I look.", "Weather.", [paris(), paris()])


def test_without_tools_nothing_is_a_call() -> None:
    assert read_in_all_ways("hermes", CALL, tools=[]) == Whole(CALL)


def test_a_stop_string_within_a_call_leaves_no_call() -> None:
    reader = AnswerReader(DIALECTS["hermes"], stop=["Paris"], tools=TOOLS, new_id=lambda: "call_1")
    begun = [*reader.feed(CALL[:50])]
    assert begun == [CallBegan(0, "call_1", "get_weather"), CallArguments(0, "{")]
    assert reader.stopped_by is None
    rest = reader.feed(CALL[50:])
    before = CALL[: CALL.index("Paris")]
    assert rest == [CallArguments(0, '"city": "'), CallDropped(0), Text(before), Stopped("Paris")]
    assert reader.stopped_by == "Paris"
    assert reader.feed("more") == reader.finish() == []


def test_a_call_is_told_as_it_comes() -> None:
    reader = AnswerReader(DIALECTS["hermes"], tools=TOOLS, new_id=lambda: "call_1")
    pieces = [
        "I look.",
        "\n<tool",
        "_call>",
        '{"name": "get_',
        'weather", "arg',
        'uments": {"ci',
        'ty": "Pa',
        'ris"}',
        "}",
    ]
    assert [reader.feed(piece) for piece in pieces] == [
        [Text("I look.")],
        [],
        [],
        [],
        [],
        [CallBegan(0, "call_1", "get_weather"), CallArguments(0, '{"ci')],
        [CallArguments(0, 'ty": "Pa')],
        [CallArguments(0, 'ris"}')],
        [CallEnded(0, "call_1", "get_weather", {"city": "Paris"}, '{"city": "Paris"}')],
    ]


# Texts that begin a call, a string or a bracket again and again, or one that never ends.
HOSTILE = {
    "<": "<",
    "mark": "<tool_call>",
    "all marks": "".join(BITS),
    "open objects": '<tool_call>{"a":',
    "calls": '<tool_call>{"name":"search","arguments":{}}</tool_call>',
    "members": '"a":1,',
    "nested": "[",
    "whitespace": " ",
    "python": "<|tool_call_start|>get_weather(a=[[",
    "escapes": "\\",
    "thoughts": "</think",
}


@pytest.mark.parametrize(
    "beginning", ["", "<think>", '<tool_call>{"name":"search","arguments":{', "<function=a><parameter=b>"]
)
@pytest.mark.parametrize("bit", HOSTILE)
def test_the_cost_is_linear(bit: str, beginning: str) -> None:
    def steps(repeats: int, name: str) -> int:
        """Return how many lines are executed for an answer, and how many characters are copied over them."""
        count = 0

        def trace(frame: Any, event: str, _argument: object) -> Any:
            nonlocal count
            count += 1
            return trace

        reader = AnswerReader(DIALECTS[name], tools=TOOLS)
        text = beginning + HOSTILE[bit] * repeats
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            for at in range(0, len(text), 7):
                reader.feed(text[at : at + 7])
            reader.finish()
        finally:
            sys.settrace(before)
        return count

    few = max(1, 300 // len(HOSTILE[bit]))
    for name in NAMES:
        assert steps(4 * few, name) < 4.4 * steps(few, name) + 400

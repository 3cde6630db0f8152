"""Calls as JSON objects, in the forms that models give them."""

from __future__ import annotations

import pytest

from tests.chat.answers.whole import Whole, paris, read_in_all_ways


@pytest.mark.parametrize(
    "call",
    [
        '{"name": "get_weather", "arguments": {"city": "Paris"}}',
        '{"arguments": {"city": "Paris"}, "name": "get_weather"}',
        '{ "name" : "get_weather" ,\n "parameters" : {"city": "Paris"}\n}',
        '{"type": "function", "function": {"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}}',
        '{"function": "get_weather", "parameters": {"city": "Paris"}}',
        '{"id": 12, "ok": true, "tags": ["a}"], "name": "get_weather", "arguments": {"city": "Paris"}, "x": null}',
        '[{"name": "get_weather", "arguments": {"city": "Paris"}}]',
        '[ {"name": "get_weather", "arguments": {"city": "\\u0050aris"}} ]',
    ],
)
def test_one_call_in_many_forms(call: str) -> None:
    assert read_in_all_ways("hermes", f"<tool_call>{call}</tool_call>") == Whole(calls=[paris()])


@pytest.mark.parametrize("members", ["", ', "arguments": {}', ', "arguments": null', ', "arguments": "{}"'])
def test_a_call_without_arguments(members: str) -> None:
    text = f'<tool_call>{{"name": "search"{members}}}</tool_call>'
    assert read_in_all_ways("hermes", text) == Whole(calls=[("search", {})])


@pytest.mark.parametrize(
    "call",
    [
        "{}",
        "[]",
        "null",
        '{"arguments": {"city": "Paris"}}',
        '{"name": 5, "arguments": {}}',
        '{"name": "", "arguments": {}}',
        '{"name": "search", "name": "search", "arguments": {}}',
        '{"name": "search", "arguments": [1]}',
        '{"name": "search", "arguments": "words"}',
        '{"name": "search", "arguments": {}, "parameters": {}}',
        '{"name": "search", "arguments": {"a": 1,}}',
        '{"name": "search", "arguments": {"a": NaN}}',
        '{"name": "search", "arguments": {"a": "\\ud800"}}',
        '{"name": "search", "arguments": {"a": [1}}',
        '{"name": "search", "arguments": {"a": 1}',
        '{"name": "search" "arguments": {}}',
        '{"name": "sea\\ud800", "arguments": {}}',
        '{name: "search", "arguments": {}}',
        '{"name" "search"}',
        '{"name": "search", "x": ' + "9" * 100 + "}",
        '{"name": "search", "arguments": ' + '{"a":' * 101 + "1" + "}" * 101 + "}",
        '[{"name": 5}]',
    ],
)
def test_what_is_no_call_is_text_to_the_letter(call: str) -> None:
    text = f"So: <tool_call>\n{call}\n</tool_call> Done."
    assert read_in_all_ways("hermes", text) == Whole(text)


def test_calls_before_something_wrong_in_an_array_are_calls() -> None:
    text = '<tool_call>[{"name": "search"}, {"name": "get_weather", "arguments": {"city": "Paris"}}, oops]</tool_call>'
    assert read_in_all_ways("hermes", text) == Whole(", oops]</tool_call>", calls=[("search", {}), paris()])


def test_marks_and_brackets_within_strings_are_text_of_the_strings() -> None:
    city = '</tool_call> <tool_call> }]" \\\\" {"name": "search"} \\n ```'
    text = '<tool_call>{"name": "search", "arguments": {"query": "' + city.replace('"', '\\"') + '"}}</tool_call>'
    ((name, arguments),) = read_in_all_ways("hermes", text).calls
    assert name == "search"
    assert arguments["query"].startswith('</tool_call> <tool_call> }]" \\')

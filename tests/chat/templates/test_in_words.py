"""What a template has no place for is told in words."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.chat.templates.forms import Forms
from rkllmd.chat.templates.in_words import adapted
from rkllmd.json_types import JsonObject

ALL = Forms(True, True, True)
NOTHING = Forms(True, True, True, tools=False, calls=False, system=False, late_system=False)
BEGINS = Forms(True, True, True, late_system=False)
TOOLS: list[JsonObject] = [{"type": "function", "function": {"name": "f"}}]
CHAT: list[JsonObject] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "one"}]},
    {
        "role": "assistant",
        "content": "I look.",
        "reasoning": "hm",
        "tool_calls": [
            {"id": "1", "function": {"name": "f", "arguments": '{"a": 1}'}},
            {"id": "2", "function": {"name": "f", "arguments": {"b": 2}}},
            {"id": "3", "function": {"name": "f"}},
        ],
    },
    {"role": "tool", "content": "done", "tool_call_id": "1"},
]


def test_a_template_that_shows_all_is_given_all() -> None:
    assert adapted(CHAT, TOOLS, ALL) == (CHAT, TOOLS)


def test_functions_their_calls_and_results_are_told_as_most_models_know_them() -> None:
    messages, tools = adapted(CHAT, TOOLS, Forms(True, True, True, tools=False, calls=False))
    assert tools is None
    system, question, answer, result = messages
    assert system["content"].startswith("Be brief.\n\n# Tools\n")
    assert '<tools>\n[{"type":"function","function":{"name":"f"}}]\n</tools>' in system["content"]
    assert question == CHAT[1]
    assert answer == {
        "role": "assistant",
        "content": 'I look.\n<tool_call>{"name": "f", "arguments": {"a":1}}</tool_call>\n'
        '<tool_call>{"name": "f", "arguments": {"b":2}}</tool_call>\n'
        '<tool_call>{"name": "f", "arguments": {}}</tool_call>',
        "reasoning": "hm",
    }
    assert result == {"role": "user", "content": "<tool_response>\ndone\n</tool_response>"}


def test_functions_get_a_system_message_where_there_is_none() -> None:
    messages, _ = adapted(CHAT[1:2], TOOLS, Forms(True, True, True, tools=False))
    assert [message["role"] for message in messages] == ["system", "user"]


def test_the_system_speaks_before_the_first_question_where_it_can_not_by_itself() -> None:
    messages, _ = adapted(CHAT[:2], None, NOTHING)
    assert messages == [{"role": "user", "content": "Be brief.\n\none"}]
    assert adapted(CHAT[:1], None, NOTHING)[0] == [{"role": "user", "content": "Be brief."}]
    messages, _ = adapted(CHAT, TOOLS, NOTHING)
    assert messages[0]["content"].startswith("Be brief.\n\n# Tools")
    assert messages[0]["content"].endswith("\n\none")


def said(*messages: tuple[str, Any]) -> list[JsonObject]:
    return [{"role": role, "content": content} for role, content in messages]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([("system", "a"), ("system", "b"), ("user", "c")], [("system", "a\n\nb"), ("user", "c")]),
        ([("user", "a"), ("system", "b")], [("user", "a\n\nb")]),
        ([("user", "a"), ("system", "b"), ("user", "c")], [("user", "a\n\nb"), ("user", "c")]),
        ([("assistant", "a"), ("tool", "b"), ("system", "c")], [("assistant", "a"), ("tool", "b\n\nc")]),
        ([("assistant", "a"), ("system", "b"), ("user", "c")], [("assistant", "a"), ("user", "b\n\nc")]),
        ([("assistant", "a"), ("system", "b"), ("tool", "c")], [("assistant", "a"), ("tool", "b\n\nc")]),
        ([("assistant", "a"), ("system", "b"), ("system", "c")], [("assistant", "a"), ("user", "b\n\nc")]),
        ([("user", "a"), ("assistant", "b"), ("user", "c")], [("user", "a"), ("assistant", "b"), ("user", "c")]),
    ],
)
def test_the_system_speaks_beside_others_where_it_can_only_begin(given: Any, told: Any) -> None:
    assert adapted(said(*given), None, BEGINS)[0] == said(*told)
    assert adapted(said(*given), None, ALL)[0] == said(*given)


def test_a_picture_stays_where_the_system_speaks_beside_it() -> None:
    picture: JsonObject = {"type": "image"}
    [told] = adapted(said(("system", "a"), ("user", [picture])), None, NOTHING)[0]
    assert told["content"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "\n\n"}, picture]

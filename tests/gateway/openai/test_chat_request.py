"""Requests for chat completions: what becomes of each field, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.openai import chat_request
from rkllmd.gateway.pictures.given import Picture

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "g"}}
URL = "data:image/png;base64,AAEC"
PART = [{"type": "text", "text": "a"}]
PICTURE = {"type": "image_url", "image_url": {"url": URL, "detail": "high"}}


def params(**fields: Any) -> dict[str, Any]:
    return chat_request.read({"messages": HELLO, **fields}).params


def test_what_a_client_sends_at_least() -> None:
    wanted = chat_request.read({"model": "demo", "messages": HELLO})
    assert (wanted.model, wanted.streams, wanted.includes_usage) == ("demo", False, False)
    assert wanted.params == {"messages": HELLO}


def test_a_stream_may_count_tokens() -> None:
    wanted = chat_request.read({"messages": HELLO, "stream": True, "stream_options": {"include_usage": True}})
    assert (wanted.streams, wanted.includes_usage) == (True, True)


def test_a_client_may_want_one_call_only() -> None:
    assert chat_request.read({"messages": HELLO, "parallel_tool_calls": False}).single_call
    assert not chat_request.read({"messages": HELLO, "parallel_tool_calls": True}).single_call


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"max_tokens": 3}, {"max_new_tokens": 3}),
        ({"max_completion_tokens": 4}, {"max_new_tokens": 4}),
        ({"max_tokens": 3, "max_completion_tokens": 4}, {"max_new_tokens": 3}),
        ({"stop": "a"}, {"stop": ["a"]}),
        ({"stop": []}, {}),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs": 2}),
        ({"temperature": 0.5, "seed": 7}, {"sampling_params": {"temperature": 0.5}, "seed": 7}),
        ({"reasoning_effort": "none"}, {"enable_thinking": False}),
        ({"reasoning_effort": "low"}, {"enable_thinking": True}),
        ({"reasoning_effort": "max"}, {"enable_thinking": True}),
        ({"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}}, {"enable_thinking": False}),
        ({"tools": [TOOL], "tool_choice": "auto"}, {"tools": [TOOL]}),
        ({"tools": [TOOL], "tool_choice": "none"}, {"tools": [TOOL], "tool_choice": "none"}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tools": [TOOL], "tool_choice": "required"}),
        ({"tool_choice": "auto"}, {}),
        ({"verbosity": "medium", "prompt_cache_options": {"mode": "implicit"}, "prompt_cache_retention": "24h"}, {}),
        ({"tools": [TOOL, OTHER], "tool_choice": allowed("auto", "g")}, {"tools": [OTHER]}),
        (
            {"tools": [TOOL, OTHER], "tool_choice": allowed("required", "g")},
            {"tools": [OTHER], "tool_choice": "required"},
        ),
        ({"response_format": {"type": "json_object"}}, {"format": "json"}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"enum": [1]}}}},
            {"format": {"enum": [1]}},
        ),
        ({"n": 1, "user": "me", "store": False, "response_format": {"type": "text"}, "logit_bias": {}}, {}),
    ],
)
def test_fields_become_parameters(fields: dict[str, Any], shown: dict[str, Any]) -> None:
    assert params(**fields) == {"messages": HELLO, **shown}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"content": "Hello"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "system", "content": [PICTURE]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": "", "audio": {}}]}, "messages[0].audio"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
            "messages[0].tool_calls[0].function.name",
        ),
        ({"n": 9}, "n"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"verbosity": "low"}, "verbosity"),
        ({"tools": [TOOL], "tool_choice": allowed("auto", "h")}, "tool_choice.allowed_tools.tools[0]"),
        ({"tools": [TOOL], "tool_choice": allowed("auto")}, "tool_choice.allowed_tools.tools"),
        ({"tools": [TOOL], "tool_choice": allowed("none", "f")}, "tool_choice.allowed_tools.mode"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools.mode"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"parallel_tool_calls": 0}, "parallel_tool_calls"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"stream_options": {"usage": True}}, "stream_options.usage"),
        ({"chat_template_kwargs": {"add_vision_id": True}}, "chat_template_kwargs.add_vision_id"),
        ({"max_token": 3}, "max_token"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(WrongField) as refused:
        params(**fields)
    assert refused.value.name == name


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": None, "refusal": "No."}, "No."),
        ({"content": "Snow.", "annotations": [{"type": "url_citation"}]}, "Snow."),
        ({"content": [{"type": "text", "text": "a", "prompt_cache_breakpoint": {}}]}, PART),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, [{"type": "text", "text": "No."}]),
        ({"content": [{"type": "text", "text": "a", "role": "assistant", "tool_calls": []}]}, PART),
        ({"content": [{"type": "output_text", "text": "a", "annotations": []}]}, PART),
    ],
)
def test_answers_come_back_as_they_were_given(message: dict[str, Any], content: Any) -> None:
    said = params(messages=[{"role": "assistant", **message}])["messages"]
    assert said == [{"role": "assistant", "content": content}]


def test_what_is_wrong_with_an_allowed_function_is_named_where_it_was() -> None:
    wanted = chat_request.read({"messages": HELLO, "tools": [TOOL, OTHER], "tool_choice": allowed("auto", "g")})
    assert wanted.names.field("tools[0].function.parameters") == "tools[1].function.parameters"


def test_messages_become_the_daemons() -> None:
    call: dict[str, Any] = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    given = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "me"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "Hm.",
            "refusal": None,
            "parsed": {"a": 1},
            "tool_calls": [{**call, "index": 0, "function": {**call["function"], "parsed_arguments": {}}}],
        },
        {"role": "tool", "content": "21", "tool_call_id": "call_1"},
    ]
    assert params(messages=given)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "", "reasoning": "Hm.", "tool_calls": [call]},
        {"role": "tool", "content": "21", "tool_call_id": "call_1"},
    ]


@pytest.mark.parametrize(
    ("given", "where"),
    [
        (PICTURE, "messages[0].content[0].image_url.url"),
        ({**PICTURE, "image_url": URL}, "messages[0].content[0].image_url"),
    ],
)
def test_pictures_stand_where_they_were(given: dict[str, Any], where: str) -> None:
    said = params(messages=[{"role": "user", "content": [given, {"type": "text", "text": "Hi"}]}])["messages"]
    picture = Picture(where, b"\0\1\2")
    assert said[0]["content"] == [{"type": "image", "image": picture}, {"type": "text", "text": "Hi"}]

"""A request for /v1/responses as the parameters of a run."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.openai.response_request import read

SCHEMA = {"type": "object"}


def test_a_text_is_a_question() -> None:
    wanted = read({"model": "m", "input": "Hi", "instructions": "Be brief.", "max_output_tokens": 5, "stream": True})
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert wanted.params == {"messages": said, "max_new_tokens": 5}
    assert (wanted.model, wanted.streams) == ("m", True)
    assert wanted.for_answer["repeated"] == {"instructions": "Be brief.", "max_output_tokens": 5}


def test_items_become_messages() -> None:
    text: dict[str, Any] = {"type": "output_text", "text": "I look.", "annotations": [], "logprobs": [], "parsed": None}
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "call_2", "name": "g", "arguments": "{}", "parsed_arguments": {}},
        {"type": "function_call_output", "call_id": "call_1", "output": "21"},
        {"role": "assistant", "content": "It is warm."},
        {"role": "assistant", "content": "Very."},
    ]
    calls = [
        {"type": "function", "id": f"call_{number}", "function": {"name": name, "arguments": "{}"}}
        for number, name in ((1, "f"), (2, "g"))
    ]
    answer = {"role": "assistant", "content": [{"type": "text", "text": "I look."}], "reasoning": "Hm."}
    assert read({"input": items}).params["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
        {**answer, "tool_calls": calls},
        {"role": "tool", "content": "21", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "It is warm."},
        {"role": "assistant", "content": "Very."},
    ]


def test_users_and_functions_show_pictures() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,YQ==", "detail": "auto"}
    asked = [{"role": "user", "content": [image]}, {"type": "function_call_output", "output": [image]}]
    shown = [message["content"][0] for message in read({"input": asked}).params["messages"]]
    assert [(part["type"], part["image"].file) for part in shown] == [("image", b"a")] * 2


def test_what_the_answer_is_to_be() -> None:
    tool = {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True}
    named = {"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}
    chosen = {"type": "function", "name": "f"}
    wanted = read({"input": "a", "tools": [tool], "tool_choice": chosen, "reasoning": {"effort": "none"}})
    assert wanted.params["tools"] == [named]
    assert wanted.params["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert wanted.params["enable_thinking"] is False
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}
    wanted = read({"input": "a", "tools": [{**tool, "name": "g"}, tool], "tool_choice": allowed})
    assert (wanted.params["tools"], wanted.params["tool_choice"]) == ([named], "required")
    assert wanted.names.field("tools[0].function.parameters") == "tools[1].parameters"
    form = {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}, "verbosity": "medium"}
    assert read({"input": "a", "text": form, "reasoning": {"summary": "auto"}}).params["format"] == SCHEMA
    assert "format" not in read({"input": "a", "text": {"format": {"type": "text"}}}).params


def test_what_asks_for_nothing_that_an_answer_could_have_changes_nothing() -> None:
    included = ["reasoning.encrypted_content", "web_search_call.results", "message.input_image.image_url"]
    more = {"include": included, "store": True, "max_tool_calls": 3, "metadata": {"a": "b"}, "service_tier": "auto"}
    assert read({"input": "a", **more}).params == read({"input": "a"}).params


def test_calls_and_results_come_back_with_who_called() -> None:
    direct = {"type": "direct"}
    call = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}", "caller": direct}
    part = {"type": "input_text", "text": "21", "prompt_cache_breakpoint": {"mode": "explicit"}}
    result = {"type": "function_call_output", "call_id": "1", "name": "f", "output": [part], "caller": direct}
    _, told = read({"input": [call, result]}).params["messages"]
    assert told == {"role": "tool", "content": [{"type": "text", "text": "21"}], "tool_call_id": "1"}


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("input", {}),
        ("input", {"input": []}),
        ("previous_response_id", {"input": "a", "previous_response_id": "resp_1"}),
        ("conversation", {"input": "a", "conversation": "c"}),
        ("background", {"input": "a", "background": True}),
        ("include", {"input": "a", "include": ["message.output_text.logprobs"]}),
        ("prompt", {"input": "a", "prompt": {"id": "pmpt_1"}}),
        ("truncation", {"input": "a", "truncation": "auto"}),
        ("stop", {"input": "a", "stop": "b"}),
        ("text.verbosity", {"input": "a", "text": {"verbosity": "low"}}),
        ("text.format.schema", {"input": "a", "text": {"format": {"type": "json_schema", "name": "n"}}}),
        ("tools[0].type", {"input": "a", "tools": [{"type": "web_search"}]}),
        ("tools[0].type", {"input": "a", "tools": [{"type": "web_search", "external_web_access": True}]}),
        ("tool_choice", {"input": "a", "tool_choice": "required"}),
        ("tool_choice.type", {"input": "a", "tool_choice": {"type": "file_search"}}),
        ("tool_choice.mode", {"input": "a", "tool_choice": {"type": "allowed_tools"}}),
        ("input[0].type", {"input": [{"type": "item_reference", "id": "a"}]}),
        ("input[0].caller", {"input": [{"type": "function_call", "name": "f", "caller": {"type": "program"}}]}),
        ("input[0].role", {"input": [{"content": "a"}]}),
        ("input[0].content[0].type", {"input": [{"role": "user", "content": [{"type": "input_file"}]}]}),
        ("input[0].content[0].text", {"input": [{"role": "user", "content": [{"type": "input_text"}]}]}),
        ("input[0].content[0].image_url", {"input": [{"role": "user", "content": [{"type": "input_image"}]}]}),
        ("input[0].content[0].type", {"input": [{"role": "system", "content": [{"type": "input_image"}]}]}),
        ("input[0].content", {"input": [{"role": "user", "content": 1}]}),
        ("input[0].name", {"input": [{"type": "function_call", "call_id": "a"}]}),
    ],
)
def test_what_cannot_be_served_is_named(name: str, body: dict[str, Any]) -> None:
    with pytest.raises(WrongField) as refused:
        read(body)
    assert refused.value.name == name

"""Requests of Anthropic's clients: what becomes of each field, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.anthropic.request import read, read_counted
from rkllmd.gateway.fields import WrongField

HELLO = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object"}
TOOL = {"name": "f", "description": "Does f.", "input_schema": SCHEMA}


def told(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "description": "Does f.", "parameters": parameters}}


TOLD = told(SCHEMA)
NAMED = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"max_tokens": 3, "metadata": {"user_id": "a"}, "service_tier": "auto"}, {"max_new_tokens": 3}),
        ({"stop_sequences": ["a"], "temperature": 0.5}, {"stop": ["a"], "sampling_params": {"temperature": 0.5}}),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"enable_thinking": True}),
        ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}),
        ({"tools": [TOOL]}, {"tools": [TOLD]}),
        ({"tools": [{**TOOL, "type": "custom", "strict": True}], "tool_choice": {"type": "auto"}}, {"tools": [TOLD]}),
        ({"tools": [TOOL], "tool_choice": {"type": "any"}}, {"tools": [TOLD], "tool_choice": "required"}),
        ({"tools": [TOOL], "tool_choice": {"type": "none"}}, {"tools": [TOLD], "tool_choice": "none"}),
        (
            {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True}},
            {"tools": [TOLD], "tool_choice": NAMED},
        ),
        ({"tools": [], "tool_choice": {"type": "none"}}, {}),
        ({"output_format": {"type": "json_schema", "schema": SCHEMA}}, {"format": SCHEMA}),
        ({"tools": [{**TOOL, "input_examples": [{"a": 1}]}]}, {"tools": [told({**SCHEMA, "examples": [{"a": 1}]})]}),
        ({"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}}}, {"format": SCHEMA}),
    ],
)
def test_fields_become_parameters(fields: dict[str, Any], shown: dict[str, Any]) -> None:
    wanted = read({"model": "demo", "messages": HELLO, **fields})
    assert (wanted.model, wanted.params, wanted.streams) == ("demo", {"messages": HELLO, **shown}, False)
    assert read({"messages": HELLO, "stream": True}).streams
    single = {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    assert read({"messages": HELLO, "tools": [TOOL], **single}).single_call


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"messages": []}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"thinking": {"type": "much"}}, "thinking.type"),
        ({"thinking": {"type": "adaptive", "display": "all"}}, "thinking.display"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"input_schema": SCHEMA}]}, "tools[0].name"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": {"disable_parallel_tool_use": 1}}, "tool_choice.disable_parallel_tool_use"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"output_format": {"type": "json_schema"}}, "output_format.schema"),
        ({"container": "a"}, "container"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(WrongField) as refused:
        read({"messages": HELLO, **fields})
    assert refused.value.name == name


def test_what_is_counted_is_what_the_model_is_told() -> None:
    given = {"messages": HELLO, "tools": [TOOL], "tool_choice": {"type": "any"}, "thinking": {"type": "adaptive"}}
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    counted = read_counted({"model": "demo", **given, "output_config": form})
    assert counted.params == {"messages": HELLO, "tools": [TOLD], "enable_thinking": True}
    with pytest.raises(WrongField):
        read_counted({"messages": HELLO, "max_tokens": 3})

"""A function of a namespace is one with a longer name for the model, and one of its namespace for clients."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.openai.response_answer import ResponseAnswer
from rkllmd.gateway.openai.response_request import read

SCHEMA = {"type": "object"}
PLAIN = {"type": "function", "name": "look", "parameters": SCHEMA}


def space(*tools: Any, **more: Any) -> dict[str, Any]:
    return {"type": "namespace", "name": "agents", "description": "Helpers.", "tools": list(tools), **more}


def test_a_model_is_told_functions_with_longer_names() -> None:
    close = {"type": "function", "name": "close", "description": "Close one.", "parameters": SCHEMA, "strict": False}
    wanted = read({"input": "a", "tools": [PLAIN, space(close, {**PLAIN, "defer_loading": False}), PLAIN]})
    functions = [tool["function"] for tool in wanted.params["tools"]]
    assert functions == [
        {"name": "look", "parameters": SCHEMA},
        {"name": "agents__close", "description": "Helpers.\n\nClose one.", "parameters": SCHEMA},
        {"name": "agents__look", "parameters": SCHEMA},
        {"name": "look", "parameters": SCHEMA},
    ]
    fields = [wanted.names.field(f"tools[{index}].function.parameters.type") for index in range(4)]
    assert fields == [
        f"{tool}.parameters.type" for tool in ("tools[0]", "tools[1].tools[0]", "tools[1].tools[1]", "tools[2]")
    ]


def test_its_calls_name_the_namespace_and_come_back_so() -> None:
    wanted = read({"input": "a", "tools": [space(PLAIN)]})
    answer = ResponseAnswer("demo", "resp_1", 7, **wanted.for_answer)
    call = {"id": "1", "type": "function", "function": {"name": "agents__look", "arguments": {}}}
    [item] = answer.whole({"text": "", "finish_reason": "tool_calls", "tool_calls": [call]})["output"]
    assert (item["name"], item["namespace"], item["arguments"]) == ("look", "agents", "{}")
    [told, _] = read({"input": [item, {"role": "user", "content": "a"}]}).params["messages"]
    assert told["tool_calls"][0]["function"]["name"] == "agents__look"


@pytest.mark.parametrize(
    ("tool", "name"),
    [
        (space(PLAIN, name=None), "tools[0].name"),
        (space({"type": "custom", "name": "f"}), "tools[0].tools[0].type"),
        (space({"type": "function"}), "tools[0].tools[0].name"),
        (space({**PLAIN, "defer_loading": True}), "tools[0].tools[0].defer_loading"),
        (space(PLAIN, extra=1), "tools[0].extra"),
    ],
)
def test_what_is_wrong_in_it_is_named(tool: dict[str, Any], name: str) -> None:
    with pytest.raises(WrongField) as refused:
        read({"input": "a", "tools": [tool]})
    assert refused.value.name == name

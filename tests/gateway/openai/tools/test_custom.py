"""A custom tool is a function with one text for the model, and a text alone for its client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rkllmd.gateway.fields import Fields, WrongField
from rkllmd.gateway.openai import chat_request, response_request
from rkllmd.gateway.openai.chat_answer import ChatAnswer
from rkllmd.gateway.openai.response_answer import ResponseAnswer
from rkllmd.gateway.openai.tools.custom import CustomTools, custom_call, said
from rkllmd.gateway.run import Wanted

HELLO = [{"role": "user", "content": "Hello"}]
TEXT: Any = {"type": "string"}
FUNCTION = {"type": "function", "name": "g", "parameters": {}}


def parameters(text: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"input": text}, "required": ["input"], "additionalProperties": False}


def of_response(tool: dict[str, Any], **more: Any) -> Wanted:
    return response_request.read({"input": "Hello", "tools": [FUNCTION, {"type": "custom", **tool}], **more})


def of_chat(tool: dict[str, Any], **more: Any) -> Wanted:
    function = {"type": "function", "function": {"name": "g", "parameters": {}}}
    return chat_request.read({"messages": HELLO, "tools": [function, {"type": "custom", "custom": tool}], **more})


def grammar(definition: str = "a|b", syntax: str = "regex") -> dict[str, Any]:
    return {"name": "f", "format": {"type": "grammar", "syntax": syntax, "definition": definition}}


def grammar_of_chat(definition: str = "a|b", syntax: str = "regex") -> dict[str, Any]:
    return {"name": "f", "format": {"type": "grammar", "grammar": {"syntax": syntax, "definition": definition}}}


@pytest.mark.parametrize("read", [of_response, of_chat])
def test_a_model_is_told_a_function_with_one_text(read: Any) -> None:
    wanted = read({"name": "f", "description": "Does.", "format": {"type": "text"}})
    assert wanted.custom == {"f"}
    told = {"name": "f", "description": "Does.", "parameters": parameters(TEXT)}
    assert wanted.params["tools"][1] == {"type": "function", "function": told}
    assert "tool_choice" not in wanted.params


@pytest.mark.parametrize(
    ("read", "tool", "chosen"),
    [
        (of_response, grammar(), {"type": "custom", "name": "f"}),
        (of_chat, grammar_of_chat(), {"type": "custom", "custom": {"name": "f"}}),
    ],
)
def test_a_call_that_must_be_made_is_kept_to_an_expression(read: Any, tool: Any, chosen: Any) -> None:
    for choice in (chosen, "required"):
        wanted = read(tool, tool_choice=choice)
        made = wanted.params["tools"][1]["function"]["parameters"]
        assert made == parameters({**TEXT, "pattern": "^(?:a|b)$"})
    assert read(tool, tool_choice=chosen).params["tool_choice"] == {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(("syntax", "named"), [("regex", "regular expression"), ("lark", "Lark grammar")])
@pytest.mark.parametrize(("read", "given"), [(of_response, grammar), (of_chat, grammar_of_chat)])
def test_where_a_model_need_not_call_it_is_told_of_the_grammar(read: Any, given: Any, syntax: str, named: str) -> None:
    told = f"The input is a text that fits this {named}:\na|b"
    for more in ({}, {"tool_choice": "auto"}, {"tool_choice": "none"}):
        function = read(given(syntax=syntax), **more).params["tools"][1]["function"]
        assert function == {"name": "f", "description": told, "parameters": parameters(TEXT)}
    function = read({**given(syntax=syntax), "description": "Does."}).params["tools"][1]["function"]
    assert function["description"] == f"Does.\n\n{told}"


@pytest.mark.parametrize(
    ("read", "tool", "name"),
    [
        (of_response, grammar(syntax="lark"), "tools[1].format.syntax"),
        (of_chat, grammar_of_chat(syntax="lark"), "tools[1].custom.format.grammar.syntax"),
        (of_response, {"name": "f", "format": {"type": "grammar"}}, "tools[1].format.syntax"),
        (of_response, grammar(syntax="ebnf"), "tools[1].format.syntax"),
        (of_response, {"name": "f", "format": {"type": "json"}}, "tools[1].format.type"),
        (of_response, {}, "tools[1].name"),
        (of_chat, {"name": "f", "more": 1}, "tools[1].custom.more"),
    ],
)
def test_what_is_wrong_is_named(read: Any, tool: Any, name: str) -> None:
    with pytest.raises(WrongField) as refused:
        read(tool, tool_choice="required")
    assert refused.value.name == name


def test_what_the_daemon_finds_wrong_is_in_the_definition() -> None:
    parameter = "tools[1].function.parameters.properties.input.pattern"
    assert of_response(grammar(), tool_choice="required").names.field(parameter) == "tools[1].format.definition"
    chat = of_chat(grammar_of_chat(), tool_choice="required")
    assert chat.names.field(parameter) == "tools[1].custom.format.grammar.definition"
    assert chat.names.field("tools[1].function.name") == "tools[1].custom.name"


def test_they_may_be_among_those_that_are_allowed() -> None:
    allowed: Any = {"mode": "auto", "tools": [{"type": "custom", "name": "f"}]}
    [left] = of_response({"name": "f"}, tool_choice={"type": "allowed_tools", **allowed}).params["tools"]
    assert left["function"]["name"] == "f"
    allowed = {"mode": "auto", "tools": [{"type": "custom", "custom": {"name": "f"}}]}
    chosen = {"type": "allowed_tools", "allowed_tools": allowed}
    [left] = of_chat({"name": "f"}, tool_choice=chosen).params["tools"]
    assert left["function"]["name"] == "f"


def test_what_is_wrong_with_one_of_those_that_are_allowed_is_named_where_it_was() -> None:
    allowed: Any = {"mode": "required", "tools": [{"type": "custom", "name": "h"}]}
    tools = [{"type": "custom", **grammar()}, {"type": "custom", **grammar(), "name": "h"}]
    chosen = {"type": "allowed_tools", **allowed}
    wanted = response_request.read({"input": "Hello", "tools": tools, "tool_choice": chosen})
    assert wanted.names.field("tools[0].function.name") == "tools[1].name"
    parameter = "tools[0].function.parameters.properties.input.pattern"
    assert wanted.names.field(parameter) == "tools[1].format.definition"


class Once(list[Any]):
    """A list that is gone through once."""

    has_begun = False

    def __iter__(self) -> Iterator[Any]:
        assert not self.has_begun
        self.has_begun = True
        return super().__iter__()


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_many_are_looked_for_in_one_go(choice: str) -> None:
    """As many as a request can have would stop the gateway for minutes, each looked for among all."""
    custom = CustomTools()
    functions = [custom.take(Fields({**grammar(), "name": name})) for name in "abc"]
    custom.finish(Once({"type": "function", "function": function} for function in functions), choice)
    assert all("pattern" in function["parameters"]["properties"]["input"] for function in functions) == (
        choice == "required"
    )


def call(arguments: Any, text: str = "", name: str = "f") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"index": 0, "id": "1", "type": "function", "function": function, "arguments_text": text}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (call({"input": "a\nb"}, '{"input": "a\\nb"}'), "a\nb"),
        (call({"input": 1}, '{"input": 1}'), '{"input": 1}'),
        (call({"input": "a", "more": "b"}, '{"input": "a", "more": "b"}'), '{"input": "a", "more": "b"}'),
        (call({"patch": "a"}), '{"patch":"a"}'),
        (call("a"), '"a"'),
    ],
)
def test_nothing_that_a_model_gave_is_lost(given: dict[str, Any], shown: str) -> None:
    assert said(given) == shown
    assert custom_call(given) == {"id": "1", "type": "custom", "custom": {"name": "f", "input": shown}}


def test_other_calls_of_an_answer_are_calls_of_functions() -> None:
    calls = [call({"input": "a"}), {**call({"a": 1}, name="g"), "index": 1}]
    result = {"text": "", "finish_reason": "tool_calls", "tool_calls": calls}
    chat = ChatAnswer("demo", "1", 7, includes_usage=False, custom=frozenset({"f"})).whole(result)
    assert [item["type"] for item in chat["choices"][0]["message"]["tool_calls"]] == ["custom", "function"]
    response = ResponseAnswer("demo", "resp_1", 7, {}, custom=frozenset({"f"})).whole(result)
    assert [item["type"] for item in response["output"]] == ["custom_tool_call", "function_call"]


def test_calls_come_back_as_those_of_the_function() -> None:
    item = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "1", "name": "f", "input": "a"}
    output = {"type": "custom_tool_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "b"}]}
    made = {"type": "function", "id": "1", "function": {"name": "f", "arguments": {"input": "a"}}}
    said, told = response_request.read({"input": [item, output]}).params["messages"]
    assert said == {"role": "assistant", "content": "", "tool_calls": [made]}
    assert told == {"role": "tool", "content": [{"type": "text", "text": "b"}], "tool_call_id": "1"}
    custom = {"id": "1", "type": "custom", "custom": {"name": "f", "input": "a"}}
    answered = {"role": "assistant", "tool_calls": [custom]}
    _, said = chat_request.read({"messages": [*HELLO, answered]}).params["messages"]
    assert said["tool_calls"] == [made]

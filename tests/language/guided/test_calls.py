"""The form of an answer that must be the call of a function."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.errors import InvalidParams
from rkllmd.language.guided.calls import form_of
from rkllmd.language.guided.form import Form

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "properties": {"city": {"$ref": "#/$defs/city"}},
            "required": ["city"],
            "additionalProperties": False,
            "$defs": {"city": {"enum": ["Oslo", "Rome"]}},
        },
    },
}
LIGHT: dict[str, Any] = {"name": "light"}


def form(tools: Any, choice: Any) -> Form:
    found = Form.of(None, tools, choice)
    assert found is not None
    return found


def test_each_function_may_be_called_and_only_as_it_wants_it() -> None:
    required = form([LIGHT, WEATHER], "required")
    for call in ('{"name": "light", "arguments": {"on": true}}', '{"name": "weather", "arguments": {"city": "Rome"}}'):
        assert required.rest(call) == ""
        assert required.fault(call) is None
    assert required.rest('{"name": "weather", "arguments": {"city": "Par') is None
    assert required.fault('{"name": "weather", "arguments": {"city": "Paris"}}') is not None


@pytest.mark.parametrize("choice", [{"type": "function", "function": {"name": "weather"}}, {"name": "weather"}])
def test_a_function_that_is_named_is_the_only_one(choice: Any) -> None:
    named = form([LIGHT, WEATHER], choice)
    assert named.is_call
    assert named.rest('{"name": "w') is not None
    assert named.rest('{"name": "l') is None


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_no_call_must_be_made(choice: Any) -> None:
    assert form_of([WEATHER], choice) is None
    assert Form.of(None, [WEATHER], choice) is None


@pytest.mark.parametrize(
    ("tools", "choice", "path"),
    [
        ([], "required", "$.tool_choice"),
        ([WEATHER], {"name": "light"}, "$.tool_choice"),
        ([{"type": "function"}], "required", "$.tools[0]"),
        ([LIGHT, {"name": "x", "parameters": 5}], "required", "$.tools[1].function.parameters"),
        ([{"name": "x", "parameters": {"not": {}}}], "required", "$.tools[0].function.parameters.not"),
    ],
)
def test_what_can_not_be_called_for_certain_is_refused(tools: Any, choice: Any, path: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        form_of(tools, choice)
    assert caught.value.data["path"] == path


def test_a_call_that_must_be_made_leaves_no_answer_for_a_format() -> None:
    either = Form.of({"type": "array"}, [WEATHER], "required")
    assert either is not None
    assert either.is_call
    assert either.rest("[") is None
    with pytest.raises(InvalidParams) as caught:
        Form.of({"not": {}}, [WEATHER], "required")
    assert caught.value.data["path"] == "$.format.not"


@pytest.mark.parametrize(
    ("tools", "choice", "may_be_call"), [([LIGHT], None, True), ([LIGHT], "none", False), ([], "auto", False)]
)
def test_beside_a_format_the_model_may_call_the_functions_that_it_was_told_of(
    tools: Any, choice: Any, may_be_call: bool
) -> None:
    found = Form.of("json", tools, choice)
    assert found is not None
    assert (found.is_call, found.may_be_call) == (False, may_be_call)
    found.openings = ("<call>",)
    assert found.has_begun_call("\n<call>{")
    assert not found.has_begun_call('{"a": "<call>"}')

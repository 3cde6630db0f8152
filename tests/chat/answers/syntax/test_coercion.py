"""Plain text as the types that a tool wants."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.chat.answers.syntax.coercion import coerce, parameters_by_tool


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "string"}, "12", "12"),
        ({"type": "string"}, " a\n", " a\n"),
        ({"type": "string"}, "null", "null"),
        ({"type": "integer"}, "12", 12),
        ({"type": "integer"}, " -3\n", -3),
        ({"type": "integer"}, "12.0", 12),
        ({"type": "integer"}, "12.5", "12.5"),
        ({"type": "integer"}, "9" * 30, "9" * 30),
        ({"type": "integer"}, "twelve", "twelve"),
        ({"type": "number"}, "1e3", 1000.0),
        ({"type": "number"}, "7", 7),
        ({"type": "number"}, "true", "true"),
        ({"type": "number"}, "1e999", "1e999"),
        ({"type": "boolean"}, "True", True),
        ({"type": "boolean"}, "false", False),
        ({"type": "boolean"}, "yes", "yes"),
        ({"type": "null"}, "None", None),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "integer"]}, "5", 5),
        ({"type": "object"}, '{"a": [1]}', {"a": [1]}),
        ({"type": "object"}, "[1]", "[1]"),
        ({"type": "array"}, "[1, 2]", [1, 2]),
        ({"type": "array"}, "1, 2", "1, 2"),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "5", 5),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "five", "five"),
        ({"enum": [1, 2]}, "2", 2),
        ({"enum": ["1", "2"]}, "2", "2"),
        ({"const": True}, "true", True),
        ({"$ref": "#/$defs/Count"}, "5", 5),
        ({"$ref": "#/$defs/Loop"}, "5", "5"),
        ({"$ref": "#/nowhere/at/all"}, "5", "5"),
        ({}, "5", "5"),
        (None, "5", "5"),
        ({"type": 5, "enum": 5, "anyOf": "x"}, "5", "5"),
    ],
)
def test_a_value_has_the_type_of_its_schema_or_stays_text(schema: Any, text: str, value: Any) -> None:
    definitions = {"Count": {"type": "integer"}, "Loop": {"$ref": "#/$defs/Loop"}}
    found = coerce(text, "name", {"properties": {"name": schema}, "$defs": definitions})
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("parameters", [{}, {"properties": 3}, {"properties": {"other": {"type": "integer"}}}])
def test_a_parameter_that_is_not_declared_is_text(parameters: Any) -> None:
    assert coerce("5", "name", parameters) == "5"


def test_the_tools_by_their_names() -> None:
    plain = {"name": "a", "parameters": {"type": "object"}}
    tools: list[Any] = [{"type": "function", "function": plain}, {"name": "b"}, {"function": 3}, {}, {"name": 4}]
    assert parameters_by_tool(tools) == {"a": {"type": "object"}, "b": {}}

"""What a client is told of a value that does not fit."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from rkllmd.abi.json import schemas
from rkllmd.abi.json.schemas import check, struct_schema
from rkllmd.abi.json.validity import reasons
from rkllmd.abi.json.validity.quick import KEYWORDS
from rkllmd.errors import InvalidParams


def refused(value: Any, name: str | dict[str, Any], root: str = "$") -> InvalidParams:
    schema = struct_schema(name) if isinstance(name, str) else name
    with pytest.raises(InvalidParams) as caught:
        check(schema, value, root)
    return caught.value


@pytest.mark.parametrize(
    ("name", "value", "path", "keyword", "message"),
    [
        ("RKLLMInput", [], "$", "type", "$ must be an object."),
        ("RKLLMInput", {"role": 1}, "$.role", "type", "$.role must be a string or null."),
        ("RKLLMInput", {"enable_thinking": "x"}, "$.enable_thinking", "type", "must be true or false or an integer"),
        ("RKLLMInput", {"enable_thinking": 2}, "$.enable_thinking", "maximum", "must be at most 1."),
        ("RKLLMInput", {"input_type": 4}, "$.input_type", "enum", "RKLLM_INPUT_EMBED"),
        ("RKLLMInput", {"input_type": True}, "$.input_type", "enum", "RKLLM_INPUT_EMBED"),
        ("RKLLMInput", {"rolle": 1}, "$", "additionalProperties", "'rolle' (did you mean 'role'?)"),
        ("RKLLMInput", {"zzzzzz": 1}, "$", "additionalProperties", "the unknown field 'zzzzzz'."),
        ("RKLLMInput", {"x" * 65: 1}, "$", "additionalProperties", "an unknown field with a long name"),
        ("RKLLMInferParam", {"keep_history": -1}, "$.keep_history", "minimum", "must be at least 0."),
        ("RKLLMInferParam", {"lora_params": {}}, "$.lora_params", "required", "$.lora_params needs lora_adapter_name."),
        ("RKLLMInferParam", {"sampling_params": {"top_p": 2}}, "$.sampling_params.top_p", "maximum", "at most 1"),
        ("RKLLMParam", {"model_path": None}, "$.model_path", "type", "must be a string."),
        ("RKLLMParam", {"model_path": "", "top_k": 2**31}, "$.top_k", "maximum", "1000000"),
        ("RKLLMSamplingParam", {"frequency_penalty": -1e30}, "$.frequency_penalty", "minimum", "at least -2"),
        ("RKLLMSamplingParam", {"repeat_penalty": 0}, "$.repeat_penalty", "minimum", "at least 0.01"),
        ("RKLLMSamplingParam", {"temperature": 1e30}, "$.temperature", "maximum", "at most 10"),
        ("RKLLMParam", {"model_path": "", "top_k": 1.5}, "$.top_k", "type", "an integer"),
        ("RKLLMParam", {"model_path": "", "top_k": False}, "$.top_k", "type", "an integer"),
        ("RKLLMTokenInput", {"input_ids": True}, "$.input_ids", "type", "an array or a string or an object"),
        ("RKLLMTokenInput", {"input_ids": [], "n_tokens": 0}, "$.n_tokens", "minimum", "at least 1"),
    ],
)
def test_refused(name: str, value: Any, path: str, keyword: str, message: str) -> None:
    error = refused(value, name)
    assert (error.data["path"], error.data["keyword"]) == (path, keyword)
    assert message in error.message
    assert "limit" in error.data


@pytest.mark.parametrize(
    ("schema", "value", "keyword", "message"),
    [
        ({"const": 1}, 2, "const", "must be 1"),
        ({"exclusiveMinimum": 0}, 0, "exclusiveMinimum", "greater than 0"),
        ({"minLength": 1}, "", "minLength", "at least 1 character."),
        ({"maxLength": 1}, "xx", "maxLength", "at most 1 character."),
        ({"minItems": 1}, [], "minItems", "at least 1 item."),
        ({"maxItems": 1}, [1, 2], "maxItems", "at most 1 item."),
        ({"additionalProperties": False}, {"x": 1}, "additionalProperties", "'x'"),
        ({"anyOf": [{"minItems": 1}, {"minItems": 2}]}, [], "anyOf", "none of the forms"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 1, "oneOf", "exactly one of the forms"),
        ({"oneOf": [{"type": "null"}, {"properties": {"x": {"type": "null"}}}]}, {"x": 1}, "type", "null"),
        ({"items": {"type": "integer"}}, [1, "x"], "type", "$.start[1] must be an integer"),
    ],
)
def test_keywords_for_plain_values(schema: Any, value: Any, keyword: str, message: str) -> None:
    error = refused(value, schema, "$.start")
    assert error.data["keyword"] == keyword
    assert message in error.message
    assert error.data["path"].startswith("$.start")


def test_a_recursion_error_is_the_clients() -> None:
    schema: dict[str, Any] = {"type": "array"}
    schema["items"] = schema  # no schema of ours is recursive, but one might be some day
    schemas._built[id(schema)] = (schema, lambda value: False)
    reasons._built[id(schema)] = (schema, reasons._Validator(schema), lambda value: False)
    value: list[Any] = []
    for _ in range(sys.getrecursionlimit()):
        value = [value]
    try:
        assert "too deeply" in refused(value, schema).message
    finally:
        del schemas._built[id(schema)], reasons._built[id(schema)]


def test_no_keyword_is_missing() -> None:
    assert reasons._KEYWORDS.keys() == KEYWORDS.keys()

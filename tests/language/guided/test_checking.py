"""The last look at a whole answer."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.language.guided.checking import fault


@pytest.mark.parametrize(
    ("text", "schema", "wrong"),
    [
        ("1", {"type": "integer"}, None),
        ("1.5", {"type": "integer"}, "type"),
        ('{"a":[3]}', {"properties": {"a": {"items": {"maximum": 2}}}}, "$.a[0] does not fit maximum"),
        ("{", {}, "read"),
        ("[" * 100_000 + "]" * 100_000, {}, "read"),
        ('"é"', {"pattern": "^\\W$"}, None),  # as ECMAScript has it
        ('"é"', {"pattern": "^\\w$"}, "pattern"),
        ('"aé"', {"pattern": "é$"}, None),
        ('{"a":1}', {"patternProperties": {"^a": {"type": "string"}}}, "$.a does not fit type"),
        ('{"b":1}', {"patternProperties": {"^a": {}}, "additionalProperties": False}, "additionalProperties"),
        ('{"ab":1}', {"patternProperties": {"^a": {}}, "additionalProperties": False}, None),
        ('{"b":1}', {"properties": {"c": {}}, "additionalProperties": {"type": "null"}}, "$.b does not fit type"),
        ('"é"', {"pattern": "^\\d$"}, "pattern"),
        ("5", {"$schema": "http://json-schema.org/draft-07/schema#", "exclusiveMinimum": 5}, "exclusiveMinimum"),
        ("5", {"$schema": "urn:unknown", "const": 5}, None),
    ],
)
def test_what_is_wrong_with_an_answer(text: str, schema: Any, wrong: str | None) -> None:
    found = fault(text, schema)
    assert (found is None) if wrong is None else (found is not None and wrong in found)

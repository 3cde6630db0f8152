"""Which keywords of a schema are kept, left out or refused, and what the judge is told instead of them."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.errors import InvalidParams
from rkllmd.language.guided.schema.schemas import MOST_SCHEMAS, rewrite
from tests.language.guided.schema_maker import REFUSED


@pytest.mark.parametrize("keyword", REFUSED)
def test_what_is_not_kept_is_refused_by_name(keyword: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        rewrite({"anyOf": [{"type": "null"}, {keyword: REFUSED[keyword]}]})
    assert caught.value.data["path"] == f"$.format.anyOf[1].{keyword}"


@pytest.mark.parametrize(
    ("schema", "rewritten"),
    [
        ({"title": "t", "x-y": 1, "default": 3, "type": "null"}, {"type": "null"}),
        ({"const": None}, {"enum": [None]}),
        ({"const": 1, "enum": [1, 2]}, {"enum": [1, 2], "allOf": [{"enum": [1]}]}),
        ({"maxLength": 10**9}, {"maxLength": 2**15}),
        ({"minProperties": 2, "required": ["a", "b", "a"]}, {"required": ["a", "b"]}),
        ({"minProperties": 1}, {"minProperties": 1}),
        ({"minLength": 2.0}, {"minLength": 2}),
        ({"uniqueItems": False}, {}),
        ({"type": "string", "nullable": True, "strict": True}, {"type": "string"}),
        ({"type": "array", "format": "RGB"}, {"type": "array"}),
        ({"type": "string", "format": "uuid"}, {"type": "string", "format": "uuid"}),
        ({"type": "object", "propertyNames": {"type": "string", "title": "Name"}}, {"type": "object"}),
        (
            {"propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "null"}},
            {"patternProperties": {"^(a|b)$": {"type": "null"}}, "additionalProperties": False},
        ),
        (
            {"propertyNames": {"type": "string", "enum": ["a.b"]}, "required": ["a.b"]},
            {"patternProperties": {"^(a\\.b)$": True}, "additionalProperties": False, "required": ["a.b"]},
        ),
        ({"properties": {"a": True, "b": False}}, {"properties": {"a": True, "b": False}}),
    ],
)
def test_what_the_judge_is_told(schema: Any, rewritten: Any) -> None:
    assert rewrite(schema) == rewritten


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "text"}, "type"),
        ({"type": []}, "type"),
        ({"enum": []}, "enum"),
        ({"enum": ["a\x01b"]}, "enum"),
        ({"const": "\ud800"}, "const"),
        ({"const": [1e300]}, "const"),
        ({"required": "a"}, "required"),
        ({"properties": {"a\x00": {}}}, "properties"),
        ({"properties": []}, "properties"),
        ({"anyOf": []}, "anyOf"),
        ({"items": [{}]}, "items"),
        ({"items": 5}, "items"),
        ({"minLength": -1}, "minLength"),
        ({"minLength": 1.5}, "minLength"),
        ({"minLength": 10**6}, "minLength"),
        ({"minItems": 10**6}, "minItems"),
        ({"minProperties": 2}, "minProperties"),
        ({"pattern": 5}, "pattern"),
        ({"anyOf": [{"pattern": f"^([ab]*a[ab]{{{n}}})*$"} for n in (100, 101, 102)]}, "anyOf[2].pattern"),
        ({"$ref": 5}, "$ref"),
        ({"patternProperties": {"(": {}}}, "patternProperties"),
        ({"$id": "https://example.org"}, "$id"),
        ({"format": 5}, "format"),
        ({"propertyNames": {"enum": ["a", 1]}}, "propertyNames"),
        ({"propertyNames": {"enum": ["a"], "type": "integer"}}, "propertyNames"),
        ({"propertyNames": {"enum": ["a"]}, "properties": {"b": {}}}, "propertyNames"),
    ],
)
def test_what_means_nothing_or_too_much_is_refused_where_it_stands(schema: Any, path: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        rewrite(schema)
    assert caught.value.data["path"] == f"$.format.{path}"


def test_what_reading_it_costs_is_bounded() -> None:
    deep: Any = {}
    for _ in range(100):
        deep = {"items": deep}
    wide: Any = {"properties": {f"p{n}": {} for n in range(MOST_SCHEMAS)}}
    for schema in (deep, wide, {"enum": list(range(5000))}, {"enum": ["x" * 70_000]}):
        with pytest.raises(InvalidParams):
            rewrite(schema)


def test_divisors_are_bounded_together() -> None:
    """Schemas that are combined mean the least common multiple, which the judge pays for."""
    assert rewrite({"allOf": [{"multipleOf": 20}, {"multipleOf": 50}]})
    with pytest.raises(InvalidParams) as caught:
        rewrite({"allOf": [{"multipleOf": 997}, {"multipleOf": 991}]})
    assert caught.value.data["path"] == "$.format.allOf[1].multipleOf"

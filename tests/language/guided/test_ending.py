"""The shortest ending of an answer."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.language.guided.grammar import Grammar
from rkllmd.language.guided.judge import Judge
from rkllmd.language.guided.schema.schemas import rewrite

LIST: Any = {
    "type": "object",
    "properties": {"v": {"type": "string", "minLength": 3}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["v", "next"],
    "additionalProperties": False,
}


def end(schema: Any, before: str = "", most: int = 1000) -> str | None:
    judge = Judge(Grammar(rewrite(schema)))
    assert judge.accept(before.encode()) == len(before.encode())
    found = judge.shortest_end(most)
    return None if found is None else found.decode()


@pytest.mark.parametrize(
    ("schema", "before", "length"),
    [
        (LIST, "", len('{"v":"000","next":null}')),
        (LIST, '{"v":"abcd","next":{"v":"a', len('00","next":null}}')),
        ({"pattern": "^(ab)*c$", "type": "string"}, '"ab', len('c"')),
        ({"pattern": "^[a-z]*X$", "type": "string"}, '"abc', len('X"')),
        ({"pattern": "é$", "type": "string"}, '"x', len('é"')),
        ({"pattern": "\\d{5}", "type": "string"}, '"ab', len('00000"')),
        ({"pattern": "^\\S+@\\S+$", "type": "string"}, '"ab', len('@c"')),
        ({"type": "string", "format": "date-time"}, '"2026-', len('01-01T00:00:00Z"')),
        ({"type": "string", "format": "uuid"}, "", 38),
        ({"type": "integer", "multipleOf": 12, "minimum": 1000}, "", 4),
        ({"type": "number"}, "12", 0),
        ({"type": "number"}, "-", 1),
        ({}, "[[1,{", 3),
        ({"type": "array", "minItems": 5, "items": {"type": "boolean"}}, "", len("[true,true,true,true,true]")),
    ],
)
def test_it_is_as_short_as_can_be(schema: Any, before: str, length: int) -> None:
    found = end(schema, before)
    assert found is not None
    assert len(found) == length


def test_what_has_no_end_or_a_far_one_is_given_up() -> None:
    assert end({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}) is None
    assert end({"type": "string", "minLength": 200}, most=100) is None
    assert end({"type": "string", "minLength": 200}, most=300) is not None

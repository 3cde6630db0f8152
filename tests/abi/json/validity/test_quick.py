"""The quick answer is that of jsonschema with its keywords and with ours, whatever the schema and the value."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, validators

from rkllmd.abi.json.validity import reasons
from rkllmd.abi.json.validity.quick import fits
from rkllmd.language.chats.messages import MESSAGES
from rkllmd.wire.long_strings import LongString

NAMES = ("a", "b", "role", "content")
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    1.0,
    1.5,
    2**70,
    float("nan"),
    "",
    "a",
    "user",
    LongString(bytearray(b"abc")),
    [],
    {},
]
LEAVES: list[Any] = [
    *({"type": name} for name in ("array", "boolean", "integer", "null", "number", "object", "string")),
    {"type": ["string", "null"]},
    {"type": ["integer", "array"], "minimum": 0},
    {"enum": ["a", 1, None, True]},
    {"const": 1},
    {"const": True},
    {"minimum": 0, "maximum": 1.0},
    {"exclusiveMinimum": 0},
    {"minLength": 1, "maxLength": 2},
    {"minItems": 1, "maxItems": 2},
    {"required": ["a"]},
    {"properties": {"a": {"type": "string"}}, "additionalProperties": False},
    {"description": "anything"},
]

schema_objects = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda items: {"anyOf": items}),
        st.lists(inner, min_size=1, max_size=3).map(lambda items: {"oneOf": items}),
        st.builds(lambda item, most: {"items": item, "maxItems": most}, inner, st.integers(0, 3)),
        inner.map(lambda item: {"items": item}),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=3).map(lambda some: {"properties": some}),
    ),
    max_leaves=6,
)
values = st.recursive(
    st.sampled_from(VALUES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)


# jsonschema's own keywords, to which our long strings are strings.
WHOLE: Any = validators.extend(  # type: ignore[no-untyped-call]  # it has no types
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "string", lambda _, value: isinstance(value, (str, LongString))
    ),
)


def slowly(schema: Any, value: Any) -> bool:
    is_valid = bool(WHOLE(schema).is_valid(value))
    assert (next(reasons.errors(schema, value), None) is None) is is_valid
    return is_valid


@given(schema_objects, values)
def test_it_is_the_answer_of_jsonschema(schema: Any, value: Any) -> None:
    assert fits(schema)(value) is slowly(schema, value)


@pytest.mark.parametrize("schema", LEAVES)
def test_it_is_for_each_keyword(schema: Any) -> None:
    test = fits(schema)
    nested: list[Any] = [[value] * count for value, count in itertools.product(VALUES, (1, 3))]
    nested += [{name: value} for name, value in itertools.product(NAMES, VALUES)]
    for value in [*VALUES, *nested]:
        assert test(value) is slowly(schema, value), value


def test_messages_that_fit_fit() -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "x"}]}
    assert fits(MESSAGES.schema)([message] * 3)
    assert not fits(MESSAGES.schema)([message, {**message, "role": "robot"}])
    assert not fits(MESSAGES.schema)([message] * 1025)

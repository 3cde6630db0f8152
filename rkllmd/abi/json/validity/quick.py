"""A JSON Schema as one function that says whether a value fits.

A request with 1023 messages takes jsonschema 17 ms on the event loop, since it makes generators and descriptions of
errors for each value that fits; this takes 1 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from rkllmd.json_types import Json, JsonObject
from rkllmd.wire.long_strings import LongString

Fits: TypeAlias = Callable[[Json], bool]


def _is_number(value: Json) -> bool:
    """Return whether a value is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(value: Json) -> bool:
    """Return whether a value is a whole number, as JSON Schema has it: 1.0 is one."""
    return type(value) is int or (type(value) is float and value.is_integer())


_IS_TYPE: Final[dict[str, Fits]] = {
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "null": lambda value: value is None,
    "number": _is_number,
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, (str, LongString)),
}
# Of most values the type alone says it.
_SURELY: Final[dict[str, tuple[type, ...]]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}


def _is_equal(one: Json, other: Json) -> bool:
    """Return whether two values are equal in JSON: true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def fits(schema: JsonObject) -> Fits:
    """Return the function that says whether a value fits a schema, whose keywords are all known here or say nothing."""
    tests = [KEYWORDS[keyword](limit, schema) for keyword, limit in schema.items() if keyword in KEYWORDS]
    if len(tests) == 1:
        return tests[0]

    def all_fit(value: Json) -> bool:
        # A generator would take twice as long.
        for test in tests:  # noqa: SIM110
            if not test(value):
                return False
        return True

    return all_fit


def _type(names: str | list[str], _: JsonObject) -> Fits:
    wanted = [names] if isinstance(names, str) else names
    surely = frozenset(kind for name in wanted for kind in _SURELY[name])
    tests = [_IS_TYPE[name] for name in wanted]
    return lambda value: type(value) in surely or any(test(value) for test in tests)


def _enum(values: list[Json], _: JsonObject) -> Fits:
    words = frozenset(value for value in values if isinstance(value, str))

    def is_one(value: Json) -> bool:
        return value in words if type(value) is str else any(_is_equal(other, value) for other in values)

    return is_one


def _properties(properties: JsonObject, _: JsonObject) -> Fits:
    tests = {name: fits(schema) for name, schema in properties.items()}

    def members_fit(value: Json) -> bool:
        if not isinstance(value, dict):
            return True
        for name in value if len(value) < len(tests) else tests:
            if name in tests and name in value and not tests[name](value[name]):
                return False
        return True

    return members_fit


def _items(schema: JsonObject, whole: JsonObject) -> Fits:
    test, most = fits(schema), whole.get("maxItems")

    def each_fits(value: Json) -> bool:
        if not isinstance(value, list):
            return True
        # Where there are too many, maxItems says no.
        return (most is not None and len(value) > most) or all(map(test, value))

    return each_fits


def _some_of(*, exactly_one: bool) -> Callable[[list[JsonObject], JsonObject], Fits]:
    def keyword(schemas: list[JsonObject], _: JsonObject) -> Fits:
        tests = [fits(schema) for schema in schemas]
        if exactly_one:
            return lambda value: sum(test(value) for test in tests) == 1
        return lambda value: any(test(value) for test in tests)

    return keyword


def _additional(allowed: Json, schema: JsonObject) -> Fits:
    names = schema.get("properties", {}).keys()
    return lambda value: allowed is not False or not isinstance(value, dict) or value.keys() <= names


def _required(names: list[str], _: JsonObject) -> Fits:
    wanted = frozenset(names)
    return lambda value: not isinstance(value, dict) or value.keys() >= wanted


def _number(condition: Callable[[float, float], bool]) -> Callable[[float, JsonObject], Fits]:
    return lambda limit, _: lambda value: not _is_number(value) or condition(value, limit)


def _size(kinds: tuple[type, ...], condition: Callable[[int, int], bool]) -> Callable[[int, JsonObject], Fits]:
    def keyword(limit: int, _: JsonObject) -> Fits:
        def size_fits(value: Json) -> bool:
            return not isinstance(value, kinds) or condition(len(value), limit)  # type: ignore[arg-type]  # all have one

        return size_fits

    return keyword


# NaN, which a configuration may have, is on neither side of a limit, as in JSON Schema's own words.
KEYWORDS: Final[dict[str, Callable[..., Fits]]] = {
    "type": _type,
    "enum": _enum,
    "const": lambda const, _: lambda value: _is_equal(const, value),
    "minimum": _number(lambda value, limit: not value < limit),
    "maximum": _number(lambda value, limit: not value > limit),
    "exclusiveMinimum": _number(lambda value, limit: not value <= limit),
    "minLength": _size((str, LongString), lambda size, limit: size >= limit),
    "maxLength": _size((str, LongString), lambda size, limit: size <= limit),
    "minItems": _size((list,), lambda size, limit: size >= limit),
    "maxItems": _size((list,), lambda size, limit: size <= limit),
    "required": _required,
    "additionalProperties": _additional,
    "properties": _properties,
    "items": _items,
    "anyOf": _some_of(exactly_one=False),
    "oneOf": _some_of(exactly_one=True),
}

"""The second judge of a whole answer: jsonschema, which knows nothing of how it was made.

Its regular expressions are not Python's, which may take for ever and would stop all threads (schema/found.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for

from rkllmd.json_types import Json, JsonObject
from rkllmd.language.guided.schema.found import is_found


def fault(text: str, schema: JsonObject) -> str | None:
    """Return what is wrong with an answer, in a few words; None if nothing is."""
    try:
        answer = json.loads(text)
        error = next(
            iter(_checker(validator_for(schema, default=Draft202012Validator))(schema).iter_errors(answer)), None
        )
    except (ValueError, RecursionError) as wrong:
        return f"it can't be read: {type(wrong).__name__}"
    except SchemaError:
        return "the schema can't be read"
    return None if error is None else f"{error.json_path} does not fit {error.validator}"


@cache
def _checker(draft: type[Validator]) -> type[Validator]:
    keywords = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    }
    checker: type[Validator] = extend(draft, keywords)  # type: ignore[no-untyped-call]  # it has no types
    return checker


def _pattern(_: Validator, pattern: str, instance: Json, __: JsonObject) -> Iterator[ValidationError]:
    if isinstance(instance, str) and is_found(pattern, instance) is False:
        yield ValidationError("does not match")


def _pattern_properties(
    validator: Validator, patterns: JsonObject, instance: Json, _: JsonObject
) -> Iterator[ValidationError]:
    for name, value in instance.items() if isinstance(instance, dict) else ():
        for pattern, schema in patterns.items():
            if is_found(pattern, name):
                yield from _descend(validator, value, schema, name)


def _additional_properties(
    validator: Validator, additional: Json, instance: Json, schema: JsonObject
) -> Iterator[ValidationError]:
    patterns: Mapping[str, Json] = schema.get("patternProperties", {})
    for name, value in instance.items() if isinstance(instance, dict) else ():
        # One of which it is not known whether a pattern is for it is left alone.
        if name in schema.get("properties", {}) or any(is_found(pattern, name) is not False for pattern in patterns):
            continue
        if additional is False:
            yield ValidationError("is not allowed")
        elif isinstance(additional, dict):
            yield from _descend(validator, value, additional, name)


def _descend(validator: Validator, value: Json, schema: Json, name: str) -> Iterator[ValidationError]:
    yield from validator.descend(value, schema, path=name)  # type: ignore[attr-defined]  # the protocol leaves it out

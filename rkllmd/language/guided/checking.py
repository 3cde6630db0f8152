"""The second judge of a whole answer: jsonschema, which knows nothing of how it was made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for

from rkllmd.json_types import Json, JsonObject


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
    checker: type[Validator] = extend(draft, {"pattern": _pattern})  # type: ignore[no-untyped-call]  # it has no types
    return checker


def _pattern(_: Validator, pattern: str, instance: Json, __: JsonObject) -> Iterator[ValidationError]:
    r"""Check a pattern as ECMAScript has it: \w is ASCII there and \s is not, and Python's flags are for both."""
    if isinstance(instance, str) and not (re.search(pattern, instance, re.ASCII) or re.search(pattern, instance)):
        yield ValidationError("does not match")

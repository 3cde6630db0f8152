"""Why a value does not fit: the one error that a client is told, of all that jsonschema finds.

jsonschema builds the messages of its keywords from ``repr(instance)`` before anybody asks for them: 16 MiB of the wrong
type stall the event loop for 30 ms, and nested lists overflow the stack. So the keywords are our own here, only those
that are cheap on any value: no repr, no recursion into what the schema does not describe. A sentence for people is made
only for the one error that is answered.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator

from rkllmd.abi.json.forms import describe_unknown
from rkllmd.abi.json.validity import quick
from rkllmd.abi.json.validity.quick import Fits
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject

_ERRORS_LOOKED_AT = 32  # the best of these is answered; an array may have a million

_Errors = Iterable[ValidationError]
_Keyword = Callable[[Validator, Json, Json, JsonObject], _Errors]


def _fails(means: Callable[..., Fits]) -> _Keyword:
    """Make a keyword that fails where the quick answer is no."""

    def keyword(_validator: Validator, value: Json, instance: Json, schema: JsonObject) -> _Errors:
        return () if means(value, schema)(instance) else (ValidationError(""),)

    return keyword


def _descend(subschema: JsonObject, instance: Json, step: str | int | None = None) -> Iterator[ValidationError]:
    # Not Validator.descend, which would make a new validator for every member. Only what does not fit is asked for its
    # errors: a request may have thousands of members, and one that is wrong.
    _, its_validator, fits = _build(subschema)
    if fits(instance):
        return
    for error in its_validator.iter_errors(instance):
        if step is not None:
            error.path.appendleft(step)
        yield error


def _properties(_validator: Validator, properties: JsonObject, instance: Json, _schema: JsonObject) -> _Errors:
    if isinstance(instance, dict):
        for name, subschema in properties.items():
            if name in instance:
                yield from _descend(subschema, instance[name], name)


def _items(_validator: Validator, subschema: JsonObject, instance: Json, schema: JsonObject) -> _Errors:
    # Not if there are too many, which is an error of its own: each takes microseconds.
    if isinstance(instance, list) and len(instance) <= schema.get("maxItems", len(instance)):
        for index, item in enumerate(instance):
            yield from _descend(subschema, item, index)


def _some_of(*, exactly_one: bool) -> _Keyword:
    def keyword(_validator: Validator, subschemas: list[JsonObject], instance: Json, _schema: JsonObject) -> _Errors:
        found = [list(itertools.islice(_descend(item, instance), _ERRORS_LOOKED_AT)) for item in subschemas]
        valid = found.count([])
        if valid == 0:
            return (ValidationError("", context=[error for errors in found for error in errors]),)
        return (ValidationError(""),) if exactly_one and valid > 1 else ()

    return keyword


# What each means is said once, in quick.py; here those that have errors below them say where.
_KEYWORDS: dict[str, _Keyword] = {
    **{name: _fails(means) for name, means in quick.KEYWORDS.items()},
    "properties": _properties,
    "items": _items,
    "anyOf": _some_of(exactly_one=False),
    "oneOf": _some_of(exactly_one=True),
}
_Validator = validators.create(
    meta_schema=Draft202012Validator.META_SCHEMA,
    validators=_KEYWORDS,  # type: ignore[arg-type]  # its type wants iterators; it takes whatever can be iterated
    type_checker=Draft202012Validator.TYPE_CHECKER,
    id_of=lambda schema: "",  # no schema here has an $id, and looking for one costs
)

_built: dict[int, tuple[JsonObject, Validator, Fits]] = {}


def _build(schema: JsonObject) -> tuple[JsonObject, Validator, Fits]:
    """Return a subschema with what looks for errors and what says whether there are any, built once."""
    found = _built.get(id(schema))
    if found is None:
        # The schema is kept beside them: as long as it lives, no other object can get its id.
        found = _built[id(schema)] = (schema, _Validator(schema), quick.fits(schema))
    return found


def errors(schema: JsonObject, value: Json) -> Iterator[ValidationError]:
    """Yield what is wrong with a value. The schema, all of whose keywords are known, must not be changed afterwards."""
    return _Validator(schema).iter_errors(value)


def refusal(schema: JsonObject, value: Json, root: str) -> InvalidParams:
    """Return why a value, which must not fit, does not: with ``path`` (below ``root``), ``keyword`` and ``limit``."""
    try:
        error = best_match(itertools.islice(errors(schema, value), _ERRORS_LOOKED_AT))
    except RecursionError:
        return InvalidParams(f"{root} is nested too deeply.", path=root, keyword="type")
    assert error is not None, "the quick answer is the validator's"
    path = root + error.json_path[1:]
    keyword = str(error.validator)
    data = {} if keyword in ("anyOf", "oneOf") else {"limit": error.validator_value}
    return InvalidParams(_sentence(error, keyword, path), path=path, keyword=keyword, **data)


# --------------------------------------------------------------------------------------------------------------------
# Sentences. Nothing in them is the client's, except an unknown name that is short.

_TYPE_NAMES = {
    "array": "an array",
    "boolean": "true or false",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}
_SENTENCES: dict[str, str] = {
    "const": "must be {0}",
    "minimum": "must be at least {0}",
    "maximum": "must be at most {0}",
    "exclusiveMinimum": "must be greater than {0}",
    "minLength": "must have at least {0} characters",
    "maxLength": "must have at most {0} characters",
    "minItems": "must have at least {0} items",
    "maxItems": "must have at most {0} items",
    "anyOf": "has none of the forms it may have",
    "oneOf": "must have exactly one of the forms it may have",
}


def _sentence(error: ValidationError, keyword: str, path: str) -> str:
    limit: Json = error.validator_value
    match keyword:
        case "type":
            names = [limit] if isinstance(limit, str) else limit
            return f"{path} must be {' or '.join(_TYPE_NAMES[name] for name in names)}."
        case "enum":
            values = ", ".join(item if isinstance(item, str) else json.dumps(item) for item in limit)
            return f"{path} must be one of {values}."
        case "required":
            instance: Json = error.instance
            return f"{path} needs {next(name for name in limit if name not in instance)}."
        case "additionalProperties":
            known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
            instance = error.instance
            return f"{path} has {describe_unknown(next(name for name in instance if name not in known), known)}."
    sentence = _SENTENCES[keyword].format(limit)
    if keyword.endswith(("Length", "Items")) and limit == 1:
        sentence = sentence.removesuffix("s")
    described = error.schema.get("description") if isinstance(error.schema, dict) else None
    return f"{path} {sentence} ({described})." if described and keyword in ("anyOf", "oneOf") else f"{path} {sentence}."

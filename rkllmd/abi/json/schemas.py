"""JSON Schemas of the C structs, and the validator that every request passes.

The schemas are made from the fields of all layouts, so that one client's requests are valid everywhere; a field that
the loaded runtime does not have is refused by name in ``abi/json/convert.py``. The schemas are plain enough to mean the
same in draft 7 and draft 2020-12. Structs inside structs are written out: to resolve ``$ref`` would double the time
that a request takes.

jsonschema builds the messages of its keywords from ``repr(instance)`` before anybody asks for them: 16 MiB of the wrong
type stall the event loop for 30 ms, and nested lists overflow the stack. So the keywords are our own here, only those
that are cheap on any value, and a sentence for people is made only for the one error that is answered.
"""

from __future__ import annotations

import ctypes
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator

from rkllmd.abi.c_types import CObject, CType, Struct
from rkllmd.abi.json.descriptions import FIELDS, Doc
from rkllmd.abi.json.forms import ALIASES, EXTRAS, FORMS, IMAGE_FIELDS, describe_unknown
from rkllmd.abi.json.structs import INT_RANGES, fields_of, is_pointer, members_of, of_array, struct_types
from rkllmd.abi.json.validity import quick
from rkllmd.abi.json.validity.quick import Fits
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject

Schema = JsonObject

# As many as a line of 16 MiB can hold. Elements are checked by the conversion: jsonschema takes 4.5 µs for each.
MAX_ITEMS = 8 << 20
_ERRORS_LOOKED_AT = 32  # the best of these is answered; an array may have a million

_ROWS: Schema = {
    "title": "Tensor",
    "description": "Numbers in an array (nested or flat), base64, or an object with data (base64), fd or mem, and "
    "dtype and shape.",
    "type": ["array", "string", "object"],
    "maxItems": MAX_ITEMS,
}
TENSOR: Schema = {
    **_ROWS,
    "description": "Numbers in an array (nested or flat), a number, base64, or an object with data (base64), fd or "
    "mem, and dtype and shape.",
    "type": ["array", "string", "object", "number", "boolean"],
}
TENSOR_MEMBERS: frozenset[str] = frozenset({"data", "fd", "mem", "offset", "size", "dtype", "shape"})
"""The members that a tensor may have if it is an object."""


# --------------------------------------------------------------------------------------------------------------------
# Struct → schema


@cache
def struct_schema(name: str) -> Schema:
    """Return the JSON Schema of the struct with this C name: the fields of all layouts and all JSON forms."""
    properties: Schema = {}
    required: list[str] = []
    for struct_type in struct_types(name):
        for field, field_type in fields_of(struct_type).items():
            properties.setdefault(field, _field_schema(struct_type, field, field_type))
        required = list(struct_type._required_)
    if name == "RKLLMMultiModalInput":
        image = struct_schema("RKLLMImageInput")["properties"]
        properties.update({field: image[field] for field in image if field in IMAGE_FIELDS})
        required = []  # the text may stand outside, as prompt_input; the conversion asks for it
    for alias, field in ALIASES.get(name, {}).items():
        properties.setdefault(alias, {**properties[field], "description": f"Another spelling of {field}."})
        required = [item for item in required if item != field]  # either will do; the conversion asks for one
    for field, extra in EXTRAS.get(name, {}).items():
        runtime = f"Runtime {extra.layouts[0]}; not a C field." if extra.layouts else "Not a C field."
        properties[field] = {**extra.schema, "description": f"{extra.description} {runtime}"}
    schema = {
        "title": name,
        "type": "object",
        "properties": {field: item for field, item in properties.items() if item},
        "additionalProperties": False,
    }
    return {**schema, "required": required} if required else schema


def _field_schema(struct_type: type[Struct], field: str, field_type: CType) -> Schema:
    """Return a field's schema; {} for a field that only C sets (callbacks)."""
    doc = FIELDS.get(struct_type.__name__, {}).get(field, Doc(""))
    schema = _type_schema(struct_type, field, field_type, doc)
    if not schema or not doc.text:
        return schema
    return {**schema, "description": doc.text}


def _type_schema(struct_type: type[Struct], field: str, field_type: CType, doc: Doc) -> Schema:
    if (struct_type.__name__, field) in FORMS:
        return FORMS[struct_type.__name__, field]
    if field in struct_type._enums_:
        members = members_of(struct_type._enums_[field])
        return {"enum": [*dict.fromkeys(members.values()), *members]}
    if field_type is ctypes.c_bool or field in struct_type._flags_:
        return {"type": ["boolean", "integer"], "minimum": 0, "maximum": 1}
    if field_type is ctypes.c_char_p:
        return {"type": "string" if field in struct_type._required_ else ["string", "null"]}
    if field_type is ctypes.c_float:
        return _ranged({"type": "number"}, doc.minimum, doc.maximum)
    if field_type in INT_RANGES:
        low, high = INT_RANGES[field_type]
        limit = high if ctypes.sizeof(field_type) < 8 else None  # 2**64 - 1 helps nobody
        return _ranged(
            {"type": "integer"},
            low if doc.minimum is None else int(doc.minimum),
            limit if doc.maximum is None else int(doc.maximum),
        )
    if field_type is ctypes.c_void_p and field == "buf":
        return TENSOR
    if issubclass(field_type, ctypes.Array):
        return _array_schema(field, field_type)
    if is_pointer(field_type):
        element = field_type._type_
        return _nullable(struct_schema(element.__name__)) if issubclass(element, Struct) else _ROWS
    return _nullable(struct_schema(field_type.__name__)) if issubclass(field_type, Struct) else {}


def _array_schema(field: str, field_type: type[ctypes.Array[CObject]]) -> Schema:
    element, length = of_array(field_type)
    if field == "reserved":
        zeros = {"enum": [0]}
        words = "C's own: null, zeros, or left out."
        return {"type": ["array", "null"], "items": zeros, "maxItems": length, "description": words}
    if issubclass(element, ctypes.Array):
        return {}
    if element is ctypes.c_char:
        return {"type": "string", "maxLength": length - 1}
    low, high = INT_RANGES[element]
    items = {"type": "integer", "minimum": low, "maximum": high}
    return {"type": "array", "items": items, "maxItems": length}


def _ranged(schema: Schema, minimum: float | None, maximum: float | None) -> Schema:
    limits = {"minimum": minimum, "maximum": maximum}
    return {**schema, **{keyword: limit for keyword, limit in limits.items() if limit is not None}}


def aliases_of(name: str, field: str) -> list[str]:
    """Return the other names that a field of a struct has in JSON."""
    return [alias for alias, canonical in ALIASES.get(name, {}).items() if canonical == field]


def _nullable(schema: Schema) -> Schema:
    return {**schema, "type": ["object", "null"]}


# --------------------------------------------------------------------------------------------------------------------
# The validator. Each keyword is cheap for any value: no repr, no recursion into what the schema does not describe.

_Errors = Iterable[ValidationError]
_Keyword = Callable[[Validator, Json, Json, Schema], _Errors]


def _fails(means: Callable[..., Fits]) -> _Keyword:
    """Make a keyword that fails where the quick answer is no."""

    def keyword(_validator: Validator, value: Json, instance: Json, schema: Schema) -> _Errors:
        return () if means(value, schema)(instance) else (ValidationError(""),)

    return keyword


def _descend(subschema: Schema, instance: Json, step: str | int | None = None) -> Iterator[ValidationError]:
    # Not Validator.descend, which would make a new validator for every member. Only what does not fit is asked for its
    # errors: a request may have thousands of members, and one that is wrong.
    _, its_validator, fits = _build(subschema)
    if fits(instance):
        return
    for error in its_validator.iter_errors(instance):
        if step is not None:
            error.path.appendleft(step)
        yield error


def _properties(_validator: Validator, properties: Schema, instance: Json, _schema: Schema) -> _Errors:
    if isinstance(instance, dict):
        for name, subschema in properties.items():
            if name in instance:
                yield from _descend(subschema, instance[name], name)


def _items(_validator: Validator, subschema: Schema, instance: Json, schema: Schema) -> _Errors:
    # Not if there are too many, which is an error of its own: each takes microseconds.
    if isinstance(instance, list) and len(instance) <= schema.get("maxItems", len(instance)):
        for index, item in enumerate(instance):
            yield from _descend(subschema, item, index)


def _some_of(exactly_one: bool) -> _Keyword:
    def keyword(_validator: Validator, subschemas: list[Schema], instance: Json, _schema: Schema) -> _Errors:
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
_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "$comment", "deprecated"})

_Validator = validators.create(
    meta_schema=Draft202012Validator.META_SCHEMA,
    validators=_KEYWORDS,  # type: ignore[arg-type]  # its type wants iterators; it takes whatever can be iterated
    type_checker=Draft202012Validator.TYPE_CHECKER,
    id_of=lambda schema: "",  # no schema here has an $id, and looking for one costs
)

_built: dict[int, tuple[Schema, Validator, Fits]] = {}


def validator(schema: Schema) -> Validator:
    """Return the validator of ``schema``, built once per schema object (which must not be changed afterwards).

    Raises ValueError for a keyword that the validator would not check.
    """
    return _build(schema)[1]


def _build(schema: Schema) -> tuple[Schema, Validator, Fits]:
    found = _built.get(id(schema))
    if found is None:
        _refuse_unknown_keywords(schema)
        # The schema is kept beside its validator: as long as it lives, no other object can get its id.
        found = _built[id(schema)] = (schema, _Validator(schema), quick.fits(schema))
    return found


def check(schema: Schema, value: Json, root: str = "$") -> None:
    """Validate ``value``. Raises InvalidParams with ``path`` (below ``root``), ``keyword`` and ``limit``."""
    _, its_validator, fits = _build(schema)
    if fits(value):
        return
    try:
        error = best_match(itertools.islice(its_validator.iter_errors(value), _ERRORS_LOOKED_AT))
    except RecursionError:
        raise InvalidParams(f"{root} is nested too deeply.", path=root, keyword="type") from None
    assert error is not None, "the quick answer is the validator's"
    path = root + error.json_path[1:]
    keyword = str(error.validator)
    data = {} if keyword in ("anyOf", "oneOf") else {"limit": error.validator_value}
    raise InvalidParams(_sentence(error, keyword, path), path=path, keyword=keyword, **data)


def _refuse_unknown_keywords(schema: Schema) -> None:
    unknown = schema.keys() - _KEYWORDS.keys() - _ANNOTATIONS
    if unknown:
        raise ValueError(f"this validator does not check {', '.join(sorted(unknown))}")
    children = [*schema.get("properties", {}).values(), *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    for child in [*children, *([schema["items"]] if "items" in schema else [])]:
        _refuse_unknown_keywords(child)


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

"""JSON Schemas of the C structs, and the check that every request passes.

The schemas are made from the fields of all layouts, so that one client's requests are valid everywhere; a field that
the loaded runtime does not have is refused by name in ``abi/json/convert.py``. The schemas are plain enough to mean the
same in draft 7 and draft 2020-12. Structs inside structs are written out: to resolve ``$ref`` would double the time
that a request takes.

What fits, one function says (``validity/quick.py``); what does not, jsonschema explains (``validity/reasons.py``),
which is imported with the first such value.
"""

from __future__ import annotations

import ctypes
from functools import cache

from rkllmd.abi.c_types import CObject, CType, Struct
from rkllmd.abi.json.descriptions import FIELDS, Doc
from rkllmd.abi.json.forms import ALIASES, EXTRAS, FORMS, IMAGE_FIELDS
from rkllmd.abi.json.structs import INT_RANGES, fields_of, is_pointer, members_of, of_array, struct_types
from rkllmd.abi.json.validity import quick
from rkllmd.abi.json.validity.quick import Fits
from rkllmd.json_types import Json, JsonObject
from rkllmd.spared_imports import before_import

Schema = JsonObject

# As many as a line of 16 MiB can hold. Elements are checked by the conversion.
MAX_ITEMS = 8 << 20

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
# The check

_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "$comment", "deprecated"})

_built: dict[int, tuple[Schema, Fits]] = {}


def prepare(schema: Schema) -> Fits:
    """Return what says whether a value fits, built once per schema object (which must not be changed afterwards).

    Raises ValueError for a keyword that would not be checked.
    """
    found = _built.get(id(schema))
    if found is None:
        _refuse_unknown_keywords(schema)
        # The schema is kept beside it: as long as it lives, no other object can get its id.
        found = _built[id(schema)] = (schema, quick.fits(schema))
    return found[1]


def check(schema: Schema, value: Json, root: str = "$") -> None:
    """Validate ``value``. Raises InvalidParams with ``path`` (below ``root``), ``keyword`` and ``limit``.

    In AT_ONCE (spared_imports.py), the first value that does not fit raises TakesLong.
    """
    if not prepare(schema)(value):
        before_import("rkllmd.abi.json.validity.reasons")
        from rkllmd.abi.json.validity import reasons  # jsonschema takes 3 MB, and a tenth of the daemon's start

        raise reasons.refusal(schema, value, root)


def _refuse_unknown_keywords(schema: Schema) -> None:
    unknown = schema.keys() - quick.KEYWORDS.keys() - _ANNOTATIONS
    if unknown:
        raise ValueError(f"no value is checked for {', '.join(sorted(unknown))}")
    children = [*schema.get("properties", {}).values(), *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    for child in [*children, *([schema["items"]] if "items" in schema else [])]:
        _refuse_unknown_keywords(child)

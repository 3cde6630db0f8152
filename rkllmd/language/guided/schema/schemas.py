"""Which JSON Schemas an answer can be kept to, and what the judge is told of them.

Each keyword is one that is kept, one that says nothing about the answer (it is left out), or refused by its name and
path: an answer is never promised that could be wrong. What is kept is rewritten where the judge (llguidance) or the
numbers of those who read the answer are less exact than the schema. A rewritten schema allows a part of what the schema
allows, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject
from rkllmd.language.guided.schema import formats, numbers, patterns, references

# What is refused costs nothing: these say what reading a schema may cost, well below the limits of the judge.
MOST_SCHEMAS: Final = 600
_MOST_VALUES: Final = 2000
_MOST_CHARACTERS: Final = 2**16
_DEEPEST: Final = 48
_LONGEST_LEAST: Final = 512
_MOST_LEAST: Final = 64
_MOST_ITEMS: Final = 256
# Longer strings than this are no answers; the judge needs memory for each character that it counts.
_LONGEST_MOST: Final = 2**15

TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")
# They tell people something, or other programs; OpenAPI's included.
_SILENT: Final = frozenset(
    (
        *("$schema", "$comment", "$anchor", "title", "description", "default", "examples", "example", "deprecated"),
        *("readOnly", "writeOnly", "contentMediaType", "contentEncoding", "contentSchema"),
        *("discriminator", "externalDocs"),
        # Of OpenAPI 3.0, where what is never null fits as well; of OpenAI, which clients leave in the schema itself.
        *("nullable", "strict"),
    )
)
_UNWRITABLE: Final = frozenset(map(chr, range(32))) - set("\b\t\n\f\r") | {"\x7f"}
_OF_OPENAI: Final = ("json_schema", "json_object")
JSON_OBJECT: Final[JsonObject] = {"type": "object"}


def refused(path: str, keyword: str, why: str, **data: Json) -> InvalidParams:
    """Return the error for a keyword at ``path`` that can't be kept."""
    return InvalidParams(f"{path.removeprefix('$.')}: {why}", path=path, keyword=keyword, **data)


def rewrite(schema: JsonObject, path: str = "$.format") -> JsonObject:
    """Return what the judge is told of a schema. Raises InvalidParams with the path of what can't be kept."""
    reader = _Reader()
    rewritten = reader.object(schema, path, 0)
    for where, reference in reader.references:
        references.check(reference, where, path, reader.places)
    return rewritten


class _Reader:
    """Reads one schema, and counts what it has read."""

    def __init__(self) -> None:
        self.references: list[tuple[str, str]] = []
        # The paths of all schemas in it: what a reference may point to.
        self.places: set[str] = set()
        self.divisor = 1
        self._values = 0
        self._characters = 0
        # Its regular expressions, and how many parts those have that are costly to follow.
        self._patterns: set[str] = set()
        self._nested_parts = 0

    def schema(self, schema: Json, path: str, depth: int) -> Json:
        if isinstance(schema, dict):
            return self.object(schema, path, depth)
        if not isinstance(schema, bool):
            raise refused(path, "type", "a schema is an object, or true or false.")
        self.places.add(path)
        return schema

    def object(self, schema: JsonObject, path: str, depth: int) -> JsonObject:
        if len(self.places) >= MOST_SCHEMAS or depth > _DEEPEST:
            raise refused(path, "format", f"at most {MOST_SCHEMAS} schemas, {_DEEPEST} in each other.")
        self.places.add(path)
        out: JsonObject = {}
        for keyword, value in schema.items():
            if keyword in _SILENT or keyword.startswith("x-"):
                continue
            where = f"{path}.{keyword}"
            read = _READERS.get(keyword)
            if read is None:
                raise refused(where, keyword, "this keyword can't be guaranteed; leave it out.")
            kept = read(self, value, where, depth)
            if kept is not None:
                out[keyword] = kept
        return _combined(out, path)

    def _schemas(self, value: Json, where: str, depth: int) -> Json:
        """Read a list of schemas."""
        if not isinstance(value, list) or not value:
            raise refused(where, "type", "a list of schemas.")
        return [self.schema(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]

    def _named(self, value: Json, where: str, depth: int) -> Json:
        """Read an object of schemas."""
        if not isinstance(value, dict):
            raise refused(where, "type", "an object of schemas.")
        for name in value:
            self._name(name, where)
        return {name: self.schema(item, f"{where}.{name}", depth + 1) for name, item in value.items()}

    def _patterned(self, value: Json, where: str, depth: int) -> Json:
        if isinstance(value, dict):
            for pattern in value:
                self._check_pattern(pattern, where)
        return self._named(value, where, depth)

    def _one(self, value: Json, where: str, depth: int) -> Json:
        """Read one schema."""
        if isinstance(value, list):
            raise refused(where, "items", "write a list of schemas for the first items as prefixItems.")
        return self.schema(value, where, depth + 1)

    def _type(self, value: Json, where: str, _: int) -> Json:
        types = value if isinstance(value, list) else [value]
        if not types or any(not isinstance(name, str) or name not in TYPES for name in types):
            advice = " Of OpenAI's response_format only the schema itself is wanted." if value in _OF_OPENAI else ""
            raise refused(where, "type", "one or several of " + ", ".join(TYPES) + "." + advice)
        return value

    def _enum(self, value: Json, where: str, _: int) -> Json:
        if not isinstance(value, list) or not value:
            raise refused(where, "enum", "a list of values.")
        for item in value:
            self._literal(item, where, 0)
        return value

    def _const(self, value: Json, where: str, _: int) -> Json:
        self._literal(value, where, 0)
        return [value]

    def _literal(self, value: Json, where: str, depth: int) -> None:
        self._values += 1
        if self._values > _MOST_VALUES or depth > _DEEPEST:
            raise refused(where, "enum", f"at most {_MOST_VALUES} values, {_DEEPEST} in each other.")
        if isinstance(value, str):
            self._name(value, where)
        elif isinstance(value, dict):
            for name, item in value.items():
                self._name(name, where)
                self._literal(item, where, depth + 1)
        elif isinstance(value, list):
            for item in value:
                self._literal(item, where, depth + 1)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers.check(value, where)

    def _name(self, text: str, where: str) -> None:
        self._characters += len(text)
        if self._characters > _MOST_CHARACTERS:
            raise refused(where, "maxLength", f"at most {_MOST_CHARACTERS} characters of names and values.")
        if not _UNWRITABLE.isdisjoint(text) or any("\ud800" <= char <= "\udfff" for char in text):
            raise refused(where, "pattern", "an answer has no control characters but \\b \\t \\n \\f \\r.")

    def _required(self, value: Json, where: str, _: int) -> Json:
        if not isinstance(value, list) or any(not isinstance(name, str) for name in value):
            raise refused(where, "type", "a list of names.")
        for name in value:
            self._name(str(name), where)
        return list(dict.fromkeys(map(str, value)))

    def _reference(self, value: Json, where: str, _: int) -> Json:
        if not isinstance(value, str):
            raise refused(where, "$ref", "a string.")
        self.references.append((where, value))
        return value

    def _pattern(self, value: Json, where: str, _: int) -> Json:
        if not isinstance(value, str):
            raise refused(where, "pattern", "a string.")
        self._check_pattern(value, where)
        return value

    def _check_pattern(self, pattern: str, where: str) -> None:
        if pattern in self._patterns:
            return
        self._patterns.add(pattern)
        try:
            self._nested_parts += patterns.check(pattern)
        except patterns.Unreadable as error:
            raise refused(where, "pattern", f"the regular expression {error}.") from None
        if self._nested_parts > patterns.MOST_NESTED_PARTS_OF_ALL:
            raise refused(
                where,
                "pattern",
                "the schema's regular expressions that repeat a group with * or + in it have more than "
                f"{patterns.MOST_NESTED_PARTS_OF_ALL} parts together.",
            )

    def _format(self, value: Json, where: str, _: int) -> Json:
        if not isinstance(value, str) or value in formats.NOT_KEPT:
            raise refused(where, "format", "one of " + ", ".join(formats.KNOWN) + ".")
        return value if value in formats.KNOWN else None

    def _property_names(self, value: Json, where: str, depth: int) -> Json:
        """Read the schema of all names: one that all of them fit says nothing, and a list of them becomes a pattern."""
        read = self.schema(value, where, depth + 1)
        names = {"type": "string", **read} if isinstance(read, dict) else {}
        if read is True or names == {"type": "string"}:
            return None
        listed = names.get("enum") if names == {"type": "string", "enum": names.get("enum")} else None
        if not listed or not all(isinstance(name, str) for name in listed):
            raise refused(where, "propertyNames", "can only be a list of names (enum); leave it out.")
        pattern = f"^({'|'.join(map(patterns.escaped, listed))})$"
        self._check_pattern(pattern, where)
        return pattern

    def _no_duplicates(self, value: Json, where: str, _: int) -> Json:
        if value is not False:
            raise refused(where, "uniqueItems", "this keyword can't be guaranteed; leave it out.")
        return None


def _count(most: int, *, limits: bool) -> Callable[[_Reader, Json, str, int], Json]:
    """Return the reader of a number of things; ``limits``: more than ``most`` means ``most``, else it is refused."""

    def read(_reader: _Reader, value: Json, where: str, _: int) -> Json:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 0:
            raise refused(where, "type", "a whole number of 0 or more.")
        if value > most and not limits:
            raise refused(where, where.rpartition(".")[2], f"at most {most}.", limit=most)
        return min(int(value), most)

    return read


def _number(_reader: _Reader, value: Json, where: str, _: int) -> Json:
    return numbers.check(value, where)


def _multiple(reader: _Reader, value: Json, where: str, _: int) -> Json:
    divisor = numbers.check_divisor(value, where)
    # Where schemas are combined, what is a multiple of both is one of this.
    reader.divisor = math.lcm(reader.divisor, divisor)
    if reader.divisor > numbers.LARGEST_DIVISOR:
        why = f"all of the schema's together have a least common multiple of at most {numbers.LARGEST_DIVISOR}."
        raise refused(where, "multipleOf", why, limit=numbers.LARGEST_DIVISOR)
    return divisor


_READERS: Final[Mapping[str, Callable[[_Reader, Json, str, int], Json]]] = {
    "$ref": _Reader._reference,
    "$defs": _Reader._named,
    "definitions": _Reader._named,
    "anyOf": _Reader._schemas,
    "allOf": _Reader._schemas,
    "oneOf": _Reader._schemas,
    "type": _Reader._type,
    "enum": _Reader._enum,
    "const": _Reader._const,
    "properties": _Reader._named,
    "patternProperties": _Reader._patterned,
    "propertyNames": _Reader._property_names,
    "additionalProperties": _Reader._one,
    "required": _Reader._required,
    "minProperties": _count(_MOST_ITEMS, limits=False),
    "maxProperties": _count(_MOST_ITEMS, limits=True),
    "items": _Reader._one,
    "prefixItems": _Reader._schemas,
    "minItems": _count(_MOST_LEAST, limits=False),
    "maxItems": _count(_LONGEST_MOST, limits=True),
    "uniqueItems": _Reader._no_duplicates,
    "minLength": _count(_LONGEST_LEAST, limits=False),
    "maxLength": _count(_LONGEST_MOST, limits=True),
    "pattern": _Reader._pattern,
    "format": _Reader._format,
    "minimum": _number,
    "maximum": _number,
    "exclusiveMinimum": _number,
    "exclusiveMaximum": _number,
    "multipleOf": _multiple,
}


def _combined(out: JsonObject, path: str) -> JsonObject:
    """Return a schema that was read, with what several keywords of it mean together."""
    if "const" in out:
        # The judge takes a const of null for none.
        only = out.pop("const")
        out |= {"allOf": [*out.get("allOf", ()), {"enum": only}]} if "enum" in out else {"enum": only}
    if (names := out.pop("propertyNames", None)) is not None:
        if not out.keys().isdisjoint(("properties", "patternProperties")):
            why = "is only guaranteed for an object of which no other names are known; leave it out."
            raise refused(f"{path}.propertyNames", "propertyNames", why)
        out |= {"patternProperties": {names: out.get("additionalProperties", True)}, "additionalProperties": False}
    least = out.pop("minProperties", 0)
    required = len(out.get("required", ()))
    if least > max(required, 1):
        # The judge counts the members of an object, and does not see that one has the name of another.
        why = "more than one is guaranteed only for names that are required."
        raise refused(f"{path}.minProperties", "minProperties", why, limit=max(required, 1))
    if least > required:
        out["minProperties"] = 1
    numbers.without_open_ends(out, path)
    formats.with_patterns(out)
    return out

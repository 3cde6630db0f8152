"""Makes schemas at random, over the common keywords of JSON Schema 2020-12, and judges answers by jsonschema alone."""

from __future__ import annotations

import json
import random
from typing import Any

from jsonschema import Draft202012Validator

from rkllmd.language.guided.form import Form

PATTERNS = (
    "^[a-z]{2,5}$",
    "^(ab|c)+$",
    "\\d{3}",
    "^[A-Z][a-z]*( [A-Z][a-z]*)?$",
    "^#[0-9a-f]{6}$",
    "é|ü",
    "^\\S+@\\S+$",
    "x$",
)
FORMATS = ("date", "time", "date-time", "email", "ipv4", "ipv6", "uuid", "hostname", "duration", "uri")
NAMES = ("name", "a", "b c", "é", "x/y", 'quo"te', "count", "next", "$ref", "0")
# Each of them is refused by its name, wherever it stands.
REFUSED: dict[str, Any] = {
    "not": {"type": "null"},
    "if": {"type": "string"},
    "contains": {"type": "integer"},
    "uniqueItems": True,
    "propertyNames": {"maxLength": 3},
    "dependentRequired": {"a": ["name"]},
    "dependentSchemas": {"a": {}},
    "unevaluatedProperties": False,
    "unevaluatedItems": False,
    "$dynamicRef": "#a",
    "minContains": 2,
    "multipleOf": 0.01,
    "minimum": 1e300,
    "pattern": "(?=a)b",
    "format": "regex",
    "$ref": "https://example.org/schema",
}


class SchemaMaker:
    """Makes one schema for each seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._has_reference = False

    def make(self) -> dict[str, Any]:
        """Return the schema."""
        made = self._schema(0)
        if self._has_reference:
            made["$defs"] = {"item": self._scalar(), "tree": self._tree()}
        return made

    def _one_of(self, *choices: Any) -> Any:
        return self._random.choice(choices)

    def _chance(self, of: float) -> bool:
        return self._random.random() < of

    def _schema(self, depth: int) -> dict[str, Any]:
        if depth and self._chance(0.02):
            name = self._one_of(*REFUSED)
            return {name: REFUSED[name]}
        if self._chance(0.1):
            return self._mixed(depth)
        if depth and self._chance(0.1):
            self._has_reference = True
            return {"$ref": self._one_of("#/$defs/item", "#/$defs/tree")}
        if depth < 3 and self._chance(0.9 if depth == 0 else 0.4):
            made: dict[str, Any] = self._one_of(self._object, self._object, self._array)(depth)
            return made
        return self._scalar()

    def _mixed(self, depth: int) -> dict[str, Any]:
        parts = [self._schema(depth + 1) for _ in range(self._random.randint(1, 3))]
        made = {self._one_of("anyOf", "allOf", "oneOf"): parts}
        return made | ({"title": "mixed"} if self._chance(0.5) else {})

    def _tree(self) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {"v": self._scalar(), "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
            "required": ["v"],
            "additionalProperties": False,
        }

    def _object(self, depth: int) -> dict[str, Any]:
        names = self._random.sample(NAMES, self._random.randint(0, 4))
        made: dict[str, Any] = {"type": "object", "properties": {name: self._schema(depth + 1) for name in names}}
        if self._chance(0.7):
            made["required"] = [name for name in names if self._chance(0.6)]
        if self._chance(0.7):
            made["additionalProperties"] = self._one_of(False, False, True, self._scalar())
        if self._chance(0.1):
            made["patternProperties"] = {self._one_of("^x-", "[0-9]$"): self._scalar()}
        if self._chance(0.1):
            made[self._one_of("minProperties", "maxProperties")] = self._random.randint(0, 4)
        return made

    def _array(self, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {"type": "array"}
        if self._chance(0.8):
            made["items"] = self._schema(depth + 1)
        if self._chance(0.2):
            made["prefixItems"] = [self._scalar(), self._schema(depth + 1)]
        if self._chance(0.5):
            made["minItems"] = self._random.randint(0, 3)
        if self._chance(0.5):
            made["maxItems"] = self._random.randint(3, 6)
        return made

    def _scalar(self) -> dict[str, Any]:
        return dict(self._one_of(self._string, self._string, self._number, self._number, self._literal, self._types)())

    def _literal(self) -> dict[str, Any]:
        values = [1, -3, 2.5, "yes", "nö", None, True, False, 'say "hi"\n', "a/b\\c", [1, "a"], {"k": [None]}, "", 0]
        if self._chance(0.4):
            return {"const": self._one_of(*values)}
        return {"enum": self._random.sample(values, self._random.randint(1, 5))}

    def _types(self) -> dict[str, Any]:
        types = ("null", "boolean", "integer", "number", "string", "array", "object")
        return {"type": self._random.sample(types, self._random.randint(1, 3))}

    def _string(self) -> dict[str, Any]:
        made: dict[str, Any] = {"type": "string", "description": "words"}
        kind = self._random.random()
        if kind < 0.3:
            made["pattern"] = self._one_of(*PATTERNS)
        elif kind < 0.6:
            made["format"] = self._one_of(*FORMATS)
        elif kind < 0.8:
            made["minLength"] = self._random.randint(0, 6)
            made["maxLength"] = self._random.randint(6, 20)
        return made

    def _number(self) -> dict[str, Any]:
        made: dict[str, Any] = {"type": self._one_of("integer", "number", "number")}
        if self._chance(0.4):
            made[self._one_of("minimum", "exclusiveMinimum")] = self._one_of(-10, 0, 0.5, 99.9, 3, -1e6)
        if self._chance(0.4):
            made[self._one_of("maximum", "exclusiveMaximum")] = self._one_of(100, 1000.25, 5e5, 2**40)
        if self._chance(0.15):
            made["multipleOf"] = self._random.randint(1, 12)
        return made


def is_valid(text: str, schema: Any) -> bool:
    """Return whether a client that knows nothing of the daemon finds the answer right, formats included."""
    checker = Draft202012Validator.FORMAT_CHECKER
    return bool(Draft202012Validator(schema, format_checker=checker).is_valid(json.loads(text)))


def form_of(schema: Any) -> Form:
    """Return the form of an answer that fits a schema. Raises InvalidParams."""
    form = Form.of(schema)
    assert form is not None
    return form

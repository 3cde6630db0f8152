"""The tools of a conversation, and what a model wrote as plain text as values of the types that they want."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from rkllmd.chat.answers.syntax.json_text import parse
from rkllmd.json_types import Json, JsonObject

_INTEGER: Final = re.compile(r"[+-]?\d{1,19}")
# A schema may refer to itself; whoever wrote it does not decide how long that is followed.
_MOST_STEPS: Final = 16
_WORDS: Final = {"true": True, "false": False}


def parameters_by_tool(tools: Iterable[JsonObject]) -> dict[str, JsonObject]:
    """Return the schema of each tool's parameters by its name, of tools as OpenAI writes them or functions alone."""
    found: dict[str, JsonObject] = {}
    for tool in tools:
        function = tool.get("function", tool)
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            parameters = function.get("parameters")
            found[function["name"]] = parameters if isinstance(parameters, dict) else {}
    return found


def coerce(text: str, name: str, parameters: JsonObject) -> Json:
    """Return the value of the parameter ``name`` that a model wrote as ``text``; the text, if it fits no type."""
    properties = parameters.get("properties")
    schema = properties.get(name) if isinstance(properties, dict) else None
    for kind in _types(schema, parameters):
        value = _value(text.strip(), kind)
        if value is not _NONE:
            return value
    return text


# What stands for "not of this type": null is a value.
_NONE: Final = object()


def _value(text: str, kind: str) -> Json:
    """Return the value of a text as one of JSON Schema's types, or ``_NONE``."""
    match kind:
        case "integer" if _INTEGER.fullmatch(text) and abs(int(text)) < 2**63:
            return int(text)
        case "boolean":
            return _WORDS.get(text.lower(), _NONE)
        case "null" if text.lower() in ("null", "none"):
            return None
        case "number" | "integer" | "object" | "array":
            return _parsed(text, kind)
    return _NONE


def _parsed(text: str, kind: str) -> Json:
    try:
        value = parse(text)
    except ValueError:
        return _NONE
    match kind:
        case "object" if isinstance(value, dict):
            return value
        case "array" if isinstance(value, list):
            return value
        case "integer" if isinstance(value, float) and value.is_integer():
            return int(value)
        case "number" if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    return _NONE


def _types(schema: Json, root: JsonObject) -> list[str]:
    """Return the types that a schema allows, as far as it says so."""
    found: list[str] = []
    waiting = [schema]
    for _ in range(_MOST_STEPS):
        if not waiting:
            break
        schema = waiting.pop(0)
        if not isinstance(schema, dict):
            continue
        named = schema.get("type")
        found += [kind for kind in (named if isinstance(named, list) else [named]) if isinstance(kind, str)]
        if named is None:
            found += [_type_of(value) for value in _listed(schema.get("enum"))[:_MOST_STEPS]]
            found += [_type_of(schema["const"])] if "const" in schema else []
        for branch in ("anyOf", "oneOf", "allOf"):
            waiting += _listed(schema.get(branch))[:_MOST_STEPS]
        if isinstance(schema.get("$ref"), str):
            waiting.append(_referred(schema["$ref"], root))
    return found


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _referred(reference: str, root: JsonObject) -> Json:
    """Return what a reference within the schema (``#/$defs/Place``) points to."""
    value: Json = root
    for step in reference.removeprefix("#").split("/")[1:]:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _type_of(value: Json) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case None:
            return "null"
        case list():
            return "array"
        case dict():
            return "object"
    return "string"

"""Answers that must be the call of a function (``tool_choice``): the form that the functions' parameters make.

Such an answer is the JSON object of a call, ``{"name": …, "arguments": {…}}``, whatever marks the model would write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject
from rkllmd.language.guided.schema import schemas


def form_of(tools: Sequence[JsonObject] | None, choice: Json) -> tuple[JsonObject, JsonObject] | None:
    """Return the schema of a call as it was asked for, and what the judge is told of it; None if none must be made.

    ``choice`` is "auto", "none", "required", or an object that names a function. Raises InvalidParams.
    """
    if choice in (None, "auto", "none"):
        return None
    name = _name(choice) if isinstance(choice, dict) else None
    asked: list[Json] = []
    rewritten: list[Json] = []
    for index, function in enumerate(_functions(tools or ())):
        if function["name"] == (name or function["name"]):
            parameters: JsonObject = {"type": "object", **(function.get("parameters") or {})}
            told = schemas.rewrite(parameters, f"$.tools[{index}].function.parameters")
            # A reference begins at the root of the whole.
            place = f"/anyOf/{len(asked)}/properties/arguments"
            asked.append(_call(function["name"], _moved(parameters, place)))
            rewritten.append(_call(function["name"], _moved(told, place)))
    if not asked:
        raise InvalidParams(
            "tool_choice names a function that is not among tools: give one that is."
            if name
            else "tool_choice asks for a call, but tools has no function: give tools, or leave tool_choice out.",
            path="$.tool_choice",
            keyword="enum",
        )
    return {"anyOf": asked}, {"anyOf": rewritten}


def _name(choice: JsonObject) -> str:
    function = choice.get("function", choice)
    return str(function["name"])


def _functions(tools: Sequence[JsonObject]) -> Iterator[JsonObject]:
    """Return the functions, as OpenAI writes them or alone. Raises InvalidParams."""
    for index, tool in enumerate(tools):
        function = tool.get("function", tool)
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise InvalidParams("tools: a function needs a name.", path=f"$.tools[{index}]", keyword="required")
        if not isinstance(function.get("parameters"), dict | None):
            raise InvalidParams(
                "tools: the parameters of a function are a JSON Schema.",
                path=f"$.tools[{index}].function.parameters",
                keyword="type",
            )
        yield function


def _call(name: str, arguments: Json) -> JsonObject:
    return {
        "type": "object",
        "properties": {"name": {"enum": [name]}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(schema: Json, place: str) -> Json:
    """Return a schema whose references to its own parts find them at ``place`` of a larger one."""
    if isinstance(schema, list):
        return [_moved(item, place) for item in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(value, place) for key, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = f"#{place}{reference[1:]}"
    return moved

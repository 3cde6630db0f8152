"""OpenAI's custom tools: what one of them is called with is a text as it is.

For a model such a tool is a function whose only argument is that text; clients see neither. Where a call must be made,
the text can be kept to a regular expression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rkllmd.gateway.fields import Fields, WrongField
from rkllmd.gateway.run import arguments_text
from rkllmd.json_types import Json, JsonObject

KIND: Final = "custom"
_INPUT: Final = "input"
_PATTERN: Final = f"parameters.properties.{_INPUT}.pattern"
_NOT_KEPT: Final = (
    "can be a grammar only where a call must be made (tool_choice required, or this tool), since other answers are not "
    "kept to it: leave it out, and say in the description what the input is to be."
)


class CustomTools:
    """Those of a request. Raises WrongField."""

    def __init__(self) -> None:
        """Begin with none."""
        # By the name of each, the path of its format.
        self._formats: dict[str, str] = {}

    @property
    def names(self) -> frozenset[str]:
        """Return their names."""
        return frozenset(self._formats)

    def take(self, tool: Fields, function: str, *, has_inner_grammar: bool = False) -> JsonObject:
        """Take one, but for its type; return the function that it is for a model.

        ``function`` is the path of that function among the parameters of a run; ``has_inner_grammar``: as chat
        completions have a grammar, one level deeper than responses.
        """
        taken: JsonObject = {"name": tool.needed("name")}
        if description := tool.text("description"):
            taken["description"] = description
        text: JsonObject = {"type": "string"}
        self._formats[taken["name"]] = tool.path("format")
        given = tool.inner("format")
        if given.choice("type", ("text", "grammar")) == "grammar":
            grammar = given.inner("grammar") if has_inner_grammar else given
            grammar.becomes("definition", f"{function}.{_PATTERN}")
            text["pattern"] = _pattern(grammar)
        given.end()
        tool.end()
        object_of_text = {"type": "object", "properties": {_INPUT: text}, "required": [_INPUT]}
        return {**taken, "parameters": {**object_of_text, "additionalProperties": False}}

    def check(self, tools: Sequence[JsonObject], choice: Json) -> None:
        """Refuse a grammar where the model need not call, which may then break it."""
        for function in (tool["function"] for tool in tools if choice in (None, "auto")):
            path = self._formats.get(function["name"])
            if path is not None and "pattern" in function["parameters"]["properties"][_INPUT]:
                raise WrongField(path, f"{path} {_NOT_KEPT}")


def _pattern(grammar: Fields) -> str:
    """Take a grammar; return a regular expression for all of the text."""
    if grammar.choice("syntax", ("lark", "regex")) != "regex":
        raise grammar.wrong("syntax", "can only be regex here: no answer can be kept to other grammars.")
    definition = grammar.needed("definition")
    grammar.end()
    return f"^(?:{definition})$"


def called(call: Fields) -> JsonObject:
    """Take a call that an answer had; return that of the function. Raises WrongField."""
    return {"name": call.needed("name"), "arguments": {_INPUT: call.needed("input")}}


def said(call: JsonObject) -> str:
    """Return what a custom tool is called with: where a model gave other arguments, those as it wrote them."""
    given = call["function"].get("arguments")
    text = given[_INPUT] if isinstance(given, dict) and given.keys() == {_INPUT} else None
    return text if isinstance(text, str) else arguments_text(call)


def custom_call(call: JsonObject) -> JsonObject:
    """Return a call as chat completions have it."""
    return {"id": call["id"], "type": KIND, KIND: {"name": call["function"]["name"], "input": said(call)}}

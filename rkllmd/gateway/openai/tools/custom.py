"""OpenAI's custom tools: each is called with one text, whatever that is, instead of arguments in JSON.

For a model such a tool is a function whose only argument is that text; clients see neither. Where a call must be made,
the text can be kept to a regular expression; where none need be made, the model is told of the grammar, as it is of the
parameters of functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rkllmd.gateway.fields import Fields
from rkllmd.gateway.run import arguments_text
from rkllmd.json_types import Json, JsonObject

KIND: Final = "custom"
_INPUT: Final = "input"
_PATTERN: Final = f"parameters.properties.{_INPUT}.pattern"
_SYNTAXES: Final = {"regex": "regular expression", "lark": "Lark grammar"}
# Where a model need not call, its answer is kept to nothing.
_FREE: Final = (None, "auto", "none")


@dataclass(frozen=True)
class _Grammar:
    """The grammar of a function's text, and the fields in which it was given."""

    function: JsonObject
    fields: Fields
    syntax: str
    definition: str

    def tell(self) -> None:
        """Tell the model of it."""
        told = f"The input is a text that fits this {_SYNTAXES[self.syntax]}:\n{self.definition}"
        self.function["description"] = "\n\n".join(filter(None, (self.function.get("description"), told)))

    def keep(self, function: str) -> None:
        """Have the text kept to it; ``function`` is the function's path for the daemon. Raises WrongField."""
        if self.syntax != "regex":
            why = "can only be regex where a call must be made: no answer can be kept to other grammars."
            raise self.fields.wrong("syntax", why)
        self.function["parameters"]["properties"][_INPUT]["pattern"] = f"^(?:{self.definition})$"
        self.fields.becomes("definition", f"{function}.{_PATTERN}")


class CustomTools:
    """Those of a request. Raises WrongField."""

    def __init__(self) -> None:
        """Begin with none."""
        self._names: set[str] = set()
        self._grammars: dict[int, _Grammar] = {}  # by the identity of their functions

    @property
    def names(self) -> frozenset[str]:
        """Return their names."""
        return frozenset(self._names)

    def take(self, tool: Fields, *, has_inner_grammar: bool = False) -> JsonObject:
        """Take one, but for its type; return the function that it is for a model.

        ``has_inner_grammar``: as chat completions have a grammar, one level deeper than responses.
        """
        taken: JsonObject = {"name": tool.needed("name")}
        if description := tool.text("description"):
            taken["description"] = description
        self._names.add(taken["name"])
        object_of_text = {"type": "object", "properties": {_INPUT: {"type": "string"}}, "required": [_INPUT]}
        taken["parameters"] = {**object_of_text, "additionalProperties": False}
        given = tool.inner("format")
        if given.choice("type", ("text", "grammar")) == "grammar":
            grammar = given.inner("grammar") if has_inner_grammar else given
            self._grammars[id(taken)] = _taken(grammar, taken)
        given.end()
        tool.end()
        return taken

    def finish(self, tools: Sequence[JsonObject], choice: Json) -> None:
        """Have texts kept to their grammars where one of the tools must be called, else have the model told of them.

        ``tools`` are those that the daemon is given.
        """
        for index, tool in enumerate(tools):
            grammar = self._grammars.get(id(tool["function"]))
            if grammar is None:
                continue
            if choice in _FREE:
                grammar.tell()
            else:
                grammar.keep(f"tools[{index}].function")


def _taken(grammar: Fields, function: JsonObject) -> _Grammar:
    syntax = grammar.choice("syntax", tuple(_SYNTAXES))
    if syntax is None:
        raise grammar.wrong("syntax", f"is missing: it is one of {', '.join(_SYNTAXES)}.")
    definition = grammar.needed("definition")
    grammar.end()
    return _Grammar(function, grammar, syntax, definition)


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

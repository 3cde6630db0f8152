"""The conversation of a request, as far as people's protocols are alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from rkllmd.gateway.fields import Fields
from rkllmd.json_types import Json, JsonObject

T = TypeVar("T")


def messages(fields: Fields, read: Callable[[JsonObject, str], T]) -> list[T]:
    """Take the messages, each as ``read(message, where)`` returns it for the daemon. Raises WrongField."""
    given = fields.objects("messages")
    if not given:
        raise fields.wrong("messages", "is missing or empty: give the conversation that the model is to go on with.")
    return [read(item, f"messages[{index}]") for index, item in enumerate(given)]


def role(fields: Fields, roles: Sequence[str]) -> str:
    """Take who speaks in a message. Raises WrongField."""
    speaker = fields.choice("role", roles)
    if speaker is None:
        raise fields.wrong("role", f"is missing: it is one of {', '.join(roles)}.")
    return speaker


def calls(fields: Fields, read: Callable[[Fields], JsonObject]) -> JsonObject:
    """Take the calls of functions that an answer had, as a member of the message; ``read`` takes one of them."""
    given = fields.objects("tool_calls")
    if not given:
        return {}
    where = fields.path("tool_calls")
    each = [Fields(item, f"{where}[{index}]") for index, item in enumerate(given)]
    return {"tool_calls": [read(call) for call in each]}


def function(call: Fields, without_effect: Sequence[str] = ()) -> JsonObject:
    """Take the function of a call; ``without_effect``: further members of it. Raises WrongField."""
    given = call.inner("function")
    called: JsonObject = {"name": given.needed("name"), "arguments": given.any("arguments")}
    given.without_effect(without_effect)
    given.end()
    return called


Take = Callable[[Fields, str], JsonObject]
"""Takes a tool, but for its type; returns the function that it is for a model, which has this path for the daemon."""


def functions(fields: Fields, others: Mapping[str, Take] = MappingProxyType({})) -> list[JsonObject]:
    """Take the functions that the model may call, as OpenAI's chats and Ollama's have them. Raises WrongField.

    ``others``: how tools of other types are taken.
    """
    given = [*(fields.objects("tools") or ())]
    for index, tool in enumerate(given):
        kind = tool.get("type")
        if isinstance(kind, str) and kind in others:
            path = f"tools[{index}]"
            of_kind = fields.of(tool, path)
            of_kind.without_effect(("type",))
            given[index] = {"type": "function", "function": others[kind](of_kind, f"{path}.function")}
            continue
        function = tool.get("function")
        if tool.get("type") not in (None, "function") or not isinstance(function, dict):
            raise fields.wrong(f"tools[{index}]", 'must be {"type": "function", "function": {…}}.')
        if not Fields(function, fields.path(f"tools[{index}].function")).text("name"):
            raise fields.wrong(f"tools[{index}].function.name", "is missing.")
    return given


def allowed(
    fields: Fields, told: Sequence[JsonObject], given: Fields, take_name: Callable[[Fields], str]
) -> tuple[list[JsonObject], str]:
    """Take the functions that ``given`` (OpenAI's ``allowed_tools``) leaves, and its mode (``auto``, ``required``).

    ``take_name`` takes the type and the name of one of its tools. The model is told those functions only.
    Raises WrongField.
    """
    mode = given.choice("mode", ("auto", "required"))
    if mode is None:
        raise given.wrong("mode", "is missing: it is auto or required.")
    every = [tool["function"]["name"] for tool in told]
    known, names = set(every), set()
    for index, item in enumerate(given.objects("tools") or ()):
        where = f"tools[{index}]"
        named = Fields(item, given.path(where))
        name = take_name(named)
        named.end()
        if name not in known:
            raise given.wrong(where, "must be the name of a function that is among tools.")
        names.add(name)
    if not names:
        raise given.wrong("tools", "is missing or empty: name the functions that may be called.")
    given.end()
    left = [index for index, name in enumerate(every) if name in names]
    fields.names.move({f"tools[{place}].function": f"tools[{index}].function" for place, index in enumerate(left)})
    return [told[index] for index in left], mode


def tools(fields: Fields, told: Sequence[Json], choice: Json) -> JsonObject:
    """Return the functions that the model may call, and which it has to, as parameters of a run. Raises WrongField."""
    if not told:
        if choice in (None, "auto", "none"):
            return {}
        raise fields.wrong("tool_choice", "needs tools.")
    return {"tools": told} if choice in (None, "auto") else {"tools": told, "tool_choice": choice}

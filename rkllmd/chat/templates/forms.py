"""In which forms a template takes what a message has: asked by rendering a small conversation in each form.

Published templates differ: most take a message's content as a text, those of models that see pictures as a list of
parts, many either. A tool call's arguments are an object to some, and JSON text to others. A template says nothing of
it, and in the wrong form it writes Python's notation of a list, or nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import orjson

from rkllmd.chat.templates.messages import plain_data
from rkllmd.json_types import Json, JsonObject
from rkllmd.quick_dataclass import dataclass

# Renders messages with these functions; None if the template refuses them.
Try = Callable[[list[JsonObject], list[JsonObject] | None], str | None]

_NEEDLE: Final = "3f9c51e7"
_NAME: Final = "a1c73e5b"
_RESULT: Final = "d08b42f6"


@dataclass(frozen=True, slots=True)
class Forms:
    """``text``, ``parts``: in which forms content can be; ``object_arguments``: whether arguments are an object.

    ``tools``, ``calls``, ``system``: whether functions, their calls with the results, and a system message are shown.
    ``late_system``: whether one is that is not the first message, where it stands.
    """

    text: bool
    parts: bool
    object_arguments: bool
    tools: bool = True
    calls: bool = True
    system: bool = True
    late_system: bool = True

    def message(self, message: JsonObject) -> JsonObject:
        """Return a message in the forms that the template takes, without what is null."""
        formed = {key: value for key, value in message.items() if value is not None}
        content = formed.get("content")
        if isinstance(content, list) and not self.parts:
            formed["content"] = joined(content)
        elif isinstance(content, str) and not self.text:
            formed["content"] = [{"type": "text", "text": content}]
        return formed

    def with_arguments(self, message: JsonObject) -> JsonObject:
        """Return a message with the arguments of its calls in the form that the template takes.

        Before markers become words: JSON text can write the characters of one by their numbers.
        """
        calls = message.get("tool_calls")
        return {**message, "tool_calls": [self._call(call) for call in calls]} if isinstance(calls, list) else message

    def _call(self, call: Json) -> Json:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or "arguments" not in function:
            return call
        arguments = function["arguments"]
        if isinstance(arguments, str) and self.object_arguments:
            arguments = parsed(arguments)
        elif not isinstance(arguments, str) and not self.object_arguments:
            arguments = orjson.dumps(arguments).decode()
        return {**call, "function": {**function, "arguments": arguments}}


def joined(content: Sequence[Json]) -> str:
    """Return the texts of a message's parts as one."""
    return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))


def parsed(arguments: str) -> Json:
    """Return the object that a text says; the text itself if it is none, as a model may have written it.

    Raises InvalidParams for one that is nested too deeply.
    """
    try:
        found = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return arguments
    return plain_data(found) if isinstance(found, dict) else arguments


def ask(render: Try) -> Forms:
    """Return the forms that a template takes."""
    parts = _takes_parts(render)
    as_object = _with_call(render, {_NAME: _NEEDLE})
    as_text = _with_call(render, orjson.dumps({_NAME: _NEEDLE}).decode()) if as_object is None else None
    shown = as_object or as_text
    return Forms(
        text=_takes_text(render) or not parts,
        parts=parts,
        # Also where neither is shown.
        object_arguments=as_text is None and f"'{_NAME}'" not in (as_object or ""),
        tools=_shows_tools(render),
        calls=shown is not None and _RESULT in shown,
        system=_shows_system(render),
        late_system=_shows_late_system(render),
    )


def _takes_text(render: Try) -> bool:
    shown = render([{"role": "user", "content": _NEEDLE}], None)
    return shown is not None and _NEEDLE in shown


def _takes_parts(render: Try) -> bool:
    """Return whether the text of a part is shown, and not the part."""
    shown = render([{"role": "user", "content": [{"type": "text", "text": _NEEDLE}]}], None)
    return shown is not None and _NEEDLE in shown and "'text'" not in shown and '"text"' not in shown


def _shows_tools(render: Try) -> bool:
    function = {"name": _NEEDLE, "description": _NAME, "parameters": {"type": "object", "properties": {}}}
    shown = render([{"role": "user", "content": _NAME}], [{"type": "function", "function": function}])
    return shown is not None and _NEEDLE in shown


def _shows_system(render: Try) -> bool:
    """Return whether a system message is shown, or at least one that is a list of parts."""
    for content in (_NEEDLE, [{"type": "text", "text": _NEEDLE}]):
        shown = render([{"role": "system", "content": content}, {"role": "user", "content": _NAME}], None)
        if shown is not None and _NEEDLE in shown:
            return True
    return False


def _shows_late_system(render: Try) -> bool:
    """Return whether a system message after a question is shown, and not before it: some gather all at the beginning.

    In text that has been read, nothing can be put in later without all being read anew.
    """
    said = (("system", _RESULT), ("user", _NAME), ("system", _NEEDLE))
    for form in (str, _as_part):
        shown = render([{"role": role, "content": form(text)} for role, text in said], None) or ""
        first, question, late = (shown.find(text) for _, text in said)
        if -1 < first < question < late:
            return True
    return False


def _as_part(text: str) -> Json:
    return [{"type": "text", "text": text}]


def _with_call(render: Try, arguments: Json) -> str | None:
    """Return what a conversation with a call becomes; None if its arguments are not shown."""
    call = {"id": "call00000", "type": "function", "function": {"name": "look", "arguments": arguments}}
    for content in (None, ""):  # some templates look for calls only in messages without content
        shown = render(
            [
                {"role": "user", "content": "look"},
                {"role": "assistant", "content": content, "tool_calls": [call]},
                {"role": "tool", "content": _RESULT, "tool_call_id": "call00000", "name": "look"},
            ],
            None,
        )
        if shown is not None and _NEEDLE in shown:
            return shown
    return None

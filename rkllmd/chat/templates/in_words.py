"""What a model's template has no place for, in the words that most models know.

Many templates leave functions out, and some refuse a system message, or one that is not the first: transformers renders
those without them, or not at all. Functions are told, called and answered as Hermes, Qwen and their kin are trained,
which the demo model is too.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from rkllmd.chat.templates.forms import Forms, joined, parsed
from rkllmd.chat.templates.messages import plain_data
from rkllmd.json_types import Json, JsonObject
from rkllmd.portable.demo.text.layout import tool_response, tools_prompt


def adapted(
    messages: Sequence[JsonObject], tools: Sequence[JsonObject] | None, forms: Forms
) -> tuple[list[JsonObject], Sequence[JsonObject] | None]:
    """Return messages, and the functions that are left for the template itself."""
    adapted: list[JsonObject] = plain_data(messages)
    if not forms.calls:
        adapted = [_without_calls(message) for message in adapted]
    if tools and not forms.tools:
        adapted = _with_system(adapted, orjson.dumps(plain_data(list(tools))).decode())
        tools = None
    return (adapted if forms.late_system else _system_beside(adapted, first=forms.system)), tools


def _text(message: JsonObject) -> str:
    content = message.get("content")
    return joined(content) if isinstance(content, list) else content or ""


def _without_calls(message: JsonObject) -> JsonObject:
    if message["role"] == "tool":
        return {"role": "user", "content": tool_response(_text(message))}
    if not message.get("tool_calls"):
        return message
    text = "\n".join(filter(None, [_text(message), *map(_call, message["tool_calls"])]))
    return {key: value for key, value in message.items() if key != "tool_calls"} | {"content": text}


def _call(call: Json) -> str:
    function = call.get("function", call)
    arguments = function.get("arguments")
    said = orjson.dumps(parsed(arguments) if isinstance(arguments, str) else arguments or {}).decode()
    return f'<tool_call>{{"name": {orjson.dumps(function.get("name")).decode()}, "arguments": {said}}}</tool_call>'


def _with_system(messages: list[JsonObject], tools: str) -> list[JsonObject]:
    """Return messages of which the first tells of the functions, after what the system says."""
    first = messages[0]
    is_system = first["role"] == "system"
    told = {"role": "system", "content": tools_prompt(_text(first) if is_system else "", tools)}
    return [told, *(messages[1:] if is_system else messages)]


def _system_beside(messages: list[JsonObject], *, first: bool) -> list[JsonObject]:
    """Return messages of which the first one alone may be the system's (``first``).

    Its other words stand at the end of the message that they follow, or before the next one where that is an answer.
    """
    is_kept = first and messages[0]["role"] == "system"
    told = messages[:is_kept]
    is_words = False  # whether the last message is no other than such words
    for message in messages[is_kept:]:
        is_system = message["role"] == "system"
        joins = bool(told) and (is_system or is_words) and "assistant" not in (told[-1]["role"], message["role"])
        if joins:
            last = told.pop()
            told.append({**(message if is_words and not is_system else last), "content": _both(last, message)})
        else:
            told.append({**message, "role": "user"} if is_system else message)
        is_words = is_system and (is_words or not joins)
    return told


def _both(first: JsonObject, second: JsonObject) -> Json:
    """Return the content of two messages as that of one."""
    parts = [*_parts(first), {"type": "text", "text": "\n\n"}, *_parts(second)]
    return joined(parts) if all(part.get("type") == "text" for part in parts) else parts


def _parts(message: JsonObject) -> list[JsonObject]:
    content = message.get("content") or ""
    return content if isinstance(content, list) else [{"type": "text", "text": content}]

"""What a model's template has no place for, in the words that most models know.

Many templates leave functions out, and some refuse a system message: transformers renders those without them, or not at
all. Functions are told, called and answered as Hermes, Qwen and their kin are trained, which the demo model is too.
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
    return (adapted if forms.system else _system_in_question(adapted)), tools


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


def _system_in_question(messages: list[JsonObject]) -> list[JsonObject]:
    """Return messages without those of the system, whose words stand before the first other one's."""
    words = [_text(message) for message in messages if message["role"] == "system"]
    rest = [message for message in messages if message["role"] != "system"]
    if not words or not rest:
        return messages
    text = "\n\n".join([*words, _text(rest[0])])
    return [{**rest[0], "content": text}, *rest[1:]]

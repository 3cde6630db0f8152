"""The messages of a conversation on their way to a template: checked, and with what templates expect of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject

ROLES: Final = ("system", "user", "assistant", "tool")
# Names under which a message's thoughts travel; templates look for the first, or for the second.
_REASONING: Final = ("reasoning_content", "thinking", "reasoning")
_MOST_LEVELS: Final = 60


def check_roles(messages: Sequence[JsonObject]) -> None:
    """Refuse an empty conversation, and roles that no template knows. Raises InvalidParams."""
    if not messages:
        raise InvalidParams("messages: give at least one message.", path="$.messages", keyword="minItems", limit=1)
    for index, message in enumerate(messages):
        if message.get("role") not in ROLES:
            path = f"$.messages[{index}].role"
            raise InvalidParams(
                f"messages[{index}].role: must be one of {', '.join(ROLES)}.", path=path, keyword="enum", limit=[*ROLES]
            )


def with_placeholders(messages: Sequence[JsonObject], placeholders: Mapping[str, str] | None) -> list[JsonObject]:
    """Return messages in which words stand for the parts that are no text."""
    if placeholders is None:
        return list(messages)
    return [
        {**message, "content": [_part(part, placeholders) for part in message["content"]]}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def _part(part: Json, placeholders: Mapping[str, str]) -> Json:
    word = placeholders.get(part.get("type", "")) if isinstance(part, dict) else None
    return part if word is None else {"type": "text", "text": word}


def with_reasoning(message: JsonObject) -> JsonObject:
    """Return a message whose thoughts have the names that templates look for, as transformers gives them."""
    reasoning = next((message[key] for key in _REASONING if message.get(key) is not None), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def plain_data(value: Json, levels: int = _MOST_LEVELS) -> Json:
    """Return a copy of JSON of the plain types. Raises InvalidParams for values nested too deeply."""
    if levels == 0:
        raise InvalidParams(
            f"messages: they are nested more than {_MOST_LEVELS} deep.", path="$.messages", keyword="maxDepth"
        )
    if isinstance(value, Mapping):
        return {str(key): plain_data(item, levels - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item, levels - 1) for item in value]
    return value if value is None or type(value) in (str, int, float, bool) else str(value)


def values_in(value: Json) -> tuple[int, int]:
    """Return how many values there are in some JSON, and how many characters."""
    values = characters = 0
    stack = [value]
    while stack:
        item = stack.pop()
        values += 1
        if isinstance(item, str):
            characters += len(item)
        elif isinstance(item, dict):
            stack.extend(item.values())
            stack.extend(item)
        elif isinstance(item, list):
            stack.extend(item)
    return values, characters

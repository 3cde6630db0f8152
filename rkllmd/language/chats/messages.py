"""The messages of a conversation, as a client gives them: ``messages`` in the place of a prompt.

A message is compared with those that the KV cache holds by its digest, in which is what the model was told: the role,
the text, the calls of functions. What an answer was made of besides (its thoughts, the ids of calls) plays no part, so
that a client may send an answer back without them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from rkllmd.calls.declaration import Value
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject
from rkllmd.wire.long_strings import LongString

_MOST_MESSAGES: Final = 1024
_MOST_PARTS: Final = 256
_MOST_TOOLS: Final = 256
_TEXT: Final = ["string", "null"]
_CALL: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "id": {"type": _TEXT},
        "type": {"type": _TEXT},
        "function": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "arguments": {"type": ["string", "object", "null"]}},
            "required": ["name"],
        },
    },
    "required": ["function"],
}
_PART: Final[JsonObject] = {
    "type": "object",
    "properties": {"type": {"enum": ["text"]}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
_MESSAGE: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "role": {"enum": ["system", "user", "assistant", "tool"]},
        "content": {"anyOf": [{"type": _TEXT}, {"type": "array", "items": _PART, "maxItems": _MOST_PARTS}]},
        "reasoning": {"type": _TEXT, "description": "the thoughts before an answer"},
        "tool_calls": {"type": ["array", "null"], "items": _CALL, "maxItems": _MOST_TOOLS},
        "tool_call_id": {"type": _TEXT},
        "name": {"type": _TEXT},
    },
    "required": ["role"],
}
MESSAGES: Final = Value(
    "messages",
    {
        "type": ["array", "null"],
        "items": _MESSAGE,
        "minItems": 1,
        "maxItems": _MOST_MESSAGES,
        "description": "a conversation, in the place of a prompt; the last message is of user or tool",
    },
    required=False,
    in_c=False,
)
TOOLS: Final = Value(
    "tools",
    {
        "type": ["array", "null"],
        "items": {"type": "object"},
        "maxItems": _MOST_TOOLS,
        "description": "the functions that the model may call, beside messages",
    },
    required=False,
    in_c=False,
)


@dataclass(frozen=True, slots=True)
class Message:
    """One message; ``given`` is what the client wrote, for templates.

    ``special``: whether control markers in the text count as such. ``thinking``: of an answer, whether it may have
    begun with thoughts.
    """

    role: str
    text: str
    given: JsonObject = field(default_factory=dict)
    special: bool = False
    thinking: bool = False
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        # White space around an answer is lost on its way through many clients.
        text = self.text.strip() if self.role == "assistant" else self.text
        said = [self.role, text, self.special, [[name, arguments] for name, arguments in self.calls]]
        object.__setattr__(self, "digest", hashlib.sha256(orjson.dumps(said)).digest())

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Return the functions that an answer calls: the name, and the arguments as JSON."""
        functions = [call["function"] for call in self.given.get("tool_calls") or ()]
        return [(str(function["name"]), _arguments(function.get("arguments"))) for function in functions]


def _arguments(given: Json) -> str:
    """Return the arguments of a call in one form, however a client writes them."""
    if isinstance(given, str):
        try:
            given = orjson.loads(given)
        except orjson.JSONDecodeError:
            return str(given)
    return orjson.dumps(given or {}, option=orjson.OPT_SORT_KEYS).decode()


def read(given: Sequence[JsonObject], *, special: bool = False, path: str = "$.messages") -> tuple[Message, ...]:
    """Return the messages that a client gives, which fit the schema of ``MESSAGES``. Raises InvalidParams."""
    messages = tuple(_read_one(item, f"{path}[{index}]", special=special) for index, item in enumerate(given))
    if messages[-1].role not in ("user", "tool"):
        where = f"{path}[{len(messages) - 1}].role"
        raise InvalidParams(
            f"{where}: the last message is what the model has to answer, so its role must be user or tool.",
            path=where,
            keyword="enum",
            limit=["user", "tool"],
        )
    return messages


def _read_one(given: JsonObject, path: str, *, special: bool) -> Message:
    content = given.get("content")
    parts = [part["text"] for part in content] if isinstance(content, list) else [content or ""]
    text = "".join(str(part) if isinstance(part, LongString) else part for part in parts)
    if "\0" in text:
        where = f"{path}.content"
        raise InvalidParams(f"{where} must not contain NUL, which ends a C string.", path=where, keyword="pattern")
    # An answer is never more than text, whoever asks for control markers in what is said.
    return Message(given["role"], text, given, special and given["role"] != "assistant")


def question(text: str, *, special: bool = False) -> Message:
    """Return a user's message."""
    return Message("user", text, special=special)


def answer(text: str, *, thinking: bool = False, calls: Sequence[JsonObject] = ()) -> Message:
    """Return a model's message."""
    return Message("assistant", text, {"tool_calls": list(calls)} if calls else {}, thinking=thinking)

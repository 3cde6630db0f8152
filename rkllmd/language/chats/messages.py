"""The messages of a conversation, as a client gives them: ``messages`` in the place of a prompt.

A message is compared with those that the KV cache holds by its digest, in which is what the model was told: the role,
the text, the calls of functions, and whatever else a message has that is no answer (its ``name``, members that only a
template knows). What an answer was made of besides (its thoughts, the ids of calls) plays no part, so that a client may
send an answer back without them.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import field
from functools import cached_property
from itertools import groupby
from typing import Final

import orjson

from rkllmd.calls.binding.attachments import are_named_in
from rkllmd.calls.declaration import Value
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject
from rkllmd.quick_dataclass import dataclass
from rkllmd.wire.long_strings import LongString, plain

_MOST_MESSAGES: Final = 1024
_MOST_PARTS: Final = 256
_MOST_TOOLS: Final = 256
MEDIA: Final = ("image", "video", "audio")
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
    "properties": {
        "type": {"enum": ["text", *MEDIA]},
        "text": {"type": "string"},
        # What RKLLMMultiModalInput has under this name.
        **{kind: {"type": "object"} for kind in MEDIA},
    },
    "required": ["type"],
}
_MESSAGE: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "role": {"enum": ["system", "user", "assistant", "tool"]},
        "content": {
            "anyOf": [{"type": _TEXT}, {"type": "array", "items": _PART, "maxItems": _MOST_PARTS}],
            "description": 'a text, or parts, each an object with its type, such as {"type": "text", "text": …}',
        },
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
        "description": "a conversation, in the place of a prompt; the last message is not of assistant",
    },
    required=False,
    in_c=False,
    is_tensor=True,
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


# What is compared in a form of its own, and the id of a call, which plays no part.
_COMPARED: Final = ("role", "content", "tool_call_id")

# Stands in a message's text for a picture, a video or audio. Nobody outside can know it, so nobody can write it.
_MARK: Final = secrets.token_hex(8)
_MARKED: Final = re.compile(f"{_MARK}[a-z]+{_MARK}")


@dataclass(frozen=True, slots=True)
class Medium:
    """A picture, a video or audio in a message: what the client gave for it, and where that stood."""

    kind: str
    given: JsonObject
    path: str

    @property
    def mark(self) -> str:
        """Return what stands for it in the message's text."""
        return f"{_MARK}{self.kind}{_MARK}"

    @property
    def digest(self) -> str:
        """Return what it is compared by; of what may have changed since (a memory) no two are equal."""
        if are_named_in(self.given):
            return secrets.token_hex(16)
        return hashlib.sha256(orjson.dumps(self.given, default=_digest_of_long)).hexdigest()


def without_marks(text: str) -> str:
    """Return a text without what stands for media in it."""
    return _MARKED.sub("", text)


def _digest_of_long(item: object) -> str:
    if not isinstance(item, LongString):
        raise TypeError
    return hashlib.sha256(item.data).hexdigest()


@dataclass(frozen=True)
class Message:
    """One message; ``given`` is what the client wrote, for templates, without the contents of media.

    ``special``: whether control markers in the text count as such. ``thinking``: of an answer, whether it may have
    begun with thoughts.
    """

    role: str
    text: str
    given: JsonObject = field(default_factory=dict)
    special: bool = False
    thinking: bool = False
    media: tuple[Medium, ...] = ()

    @cached_property
    def digest(self) -> bytes:
        """Return what the message is compared by; on the worker thread, since there may be megabytes in it."""
        # White space around an answer is lost on its way through many clients.
        text = self.text.strip() if self.role == "assistant" else self.text
        calls = [[name, arguments] for name, arguments in self.calls]
        said = [self.role, text, self.special, calls, [medium.digest for medium in self.media], self._more]
        try:
            return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).digest()
        except orjson.JSONEncodeError:  # nested too deeply to be written again: equal to nothing
            return secrets.token_bytes(32)

    @property
    def _more(self) -> JsonObject:
        """Return what a template may show of a message besides; an answer comes back with members of its own."""
        if self.role == "assistant":
            return {}
        return {name: value for name, value in self.given.items() if name not in _COMPARED and value is not None}

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Return the functions that an answer calls: the name, and the arguments as JSON."""
        functions = [call["function"] for call in self.given.get("tool_calls") or ()]
        return [(str(function["name"]), _arguments(function.get("arguments"))) for function in functions]


def _arguments(given: Json) -> str:
    """Return the arguments of a call in one form, however a client writes them."""
    try:
        said = orjson.loads(given) if isinstance(given, str) else given
        return orjson.dumps(said or {}, option=orjson.OPT_SORT_KEYS).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # no JSON, or nested too deeply to be written again
        return str(given)


def read(given: Sequence[JsonObject], *, special: bool = False, path: str = "$.messages") -> tuple[Message, ...]:
    """Return the messages that a client gives, which fit the schema of ``MESSAGES``. Raises InvalidParams."""
    messages = tuple(_read_one(item, f"{path}[{index}]", special=special) for index, item in enumerate(given))
    if messages[-1].role == "assistant":
        where = f"{path}[{len(messages) - 1}].role"
        raise InvalidParams(
            f"{where}: the last message is what the model has to answer, so it can't be an answer: role must be user, "
            "tool or system.",
            path=where,
            keyword="enum",
            limit=["user", "tool", "system"],
        )
    return tuple(_as_called(messages))


def _as_called(messages: Iterable[Message]) -> Iterable[Message]:
    """Yield messages with the results of an answer's calls in the order of the calls, where their ids tell it.

    Clients that run several at once give them as they come, and most templates show no ids.
    """
    order: dict[Json, int] = {}
    for is_result, group in groupby(messages, lambda message: message.role == "tool"):
        told = list(group)
        if not is_result:
            calls = told[-1].given.get("tool_calls") or ()
            order = {call.get("id"): index for index, call in enumerate(calls)}
        elif all(_call_id(message) in order for message in told):
            told.sort(key=lambda message: order[_call_id(message)])
        yield from told


def _call_id(message: Message) -> Json:
    return message.given.get("tool_call_id")


def _read_one(given: JsonObject, path: str, *, special: bool) -> Message:
    content = given.get("content")
    media: tuple[Medium, ...] = ()
    if isinstance(content, list):
        text, media = _parts(content, f"{path}.content")
        shown = plain({**given, "content": None}) | {"content": [_without_media(part) for part in content]}
    else:
        text, shown = str(content or ""), plain({**given})
    if "\0" in text:
        where = f"{path}.content"
        raise InvalidParams(f"{where} must not contain NUL, which ends a C string.", path=where, keyword="pattern")
    # An answer is never more than text, whoever asks for control markers in what is said.
    return Message(given["role"], text, shown, special and given["role"] != "assistant", media=media)


def _parts(content: Sequence[JsonObject], path: str) -> tuple[str, tuple[Medium, ...]]:
    text, media = "", []
    for index, part in enumerate(content):
        kind = part["type"]
        if kind == "text" and part.get("text") is not None:  # there may be thousands
            text += str(part["text"])
            continue
        where = f"{path}[{index}].{kind}"
        if part.get(kind) is None:
            raise InvalidParams(f"{where} is required.", path=where, keyword="required")
        media.append(Medium(kind, part[kind], where))
        text += media[-1].mark
    return text, tuple(media)


def _without_media(part: JsonObject) -> JsonObject:
    return {"type": "text", "text": str(part["text"])} if part["type"] == "text" else {"type": part["type"]}


def has_media(given: Sequence[JsonObject]) -> bool:
    """Return whether there is more than text in the messages that a client gives."""
    contents = [item["content"] for item in given if isinstance(item.get("content"), list)]
    return any(part["type"] != "text" for content in contents for part in content)


def question(text: str, *, special: bool = False) -> Message:
    """Return a user's message."""
    return Message("user", text, special=special)


def answer(text: str, *, thinking: bool = False, calls: Sequence[JsonObject] = ()) -> Message:
    """Return a model's message."""
    return Message("assistant", text, {"tool_calls": list(calls)} if calls else {}, thinking=thinking)

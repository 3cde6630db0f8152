"""The conversation of a request: Anthropic's turns, which are made of blocks, as the daemon's messages."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Final

from rkllmd.gateway import conversation
from rkllmd.gateway.anthropic import documents
from rkllmd.gateway.anthropic.documents import WITHOUT_EFFECT
from rkllmd.gateway.fields import Fields
from rkllmd.gateway.pictures.given import of_base64, of_url
from rkllmd.json_types import Json, JsonObject

_SHOWN: Final = ("text", "image", "document", "search_result")
_ROLES: Final = ("system", "user", "assistant")
# Claude Code tells Anthropic's servers so whom it bills: no words for a model. It is another text in each conversation,
# so that all that follows would be read anew.
_BILLING: Final = "x-anthropic-billing-header:"
# A message, and of which field it was made.
_Said = tuple[str, JsonObject]


def take(fields: Fields) -> list[JsonObject]:
    """Take ``system`` and ``messages``. Raises WrongField."""
    system = [part for part in _texts(blocks(fields, "system")) if not part["text"].startswith(_BILLING)]
    said: list[_Said] = [("system", {"role": "system", "content": system})] if system else []
    for turn in conversation.messages(fields, _turn):
        said += turn
    joined = list(_joined(said))
    fields.names.add_messages([where for where, _ in joined])
    return [{**message, "content": _shortest(message["content"])} for _, message in joined]


def blocks(fields: Fields, name: str) -> list[Fields]:
    """Take a text, or an array of blocks, as the fields of each block. Raises WrongField."""
    given = fields.any(name)
    where = fields.path(name)
    if given is None:
        return []
    if isinstance(given, str):
        return [Fields({"type": "text", "text": given}, where)]
    if not isinstance(given, list):
        raise fields.wrong(name, "must be a string or an array of blocks.")
    return [Fields(item, f"{where}[{index}]") for index, item in enumerate(given)]


def _turn(given: JsonObject, where: str) -> list[_Said]:
    fields = Fields(given, where)
    role = conversation.role(fields, _ROLES)
    content = blocks(fields, "content")
    fields.end()
    if role == "user":
        return [(where, message) for message in _of_user(content)]
    if role == "assistant":
        return [(where, _of_assistant(content))]
    return [(where, {"role": role, "content": _texts(content)})]


def _of_user(content: Iterable[Fields]) -> Iterable[JsonObject]:
    """Yield what a user's turn is made of: results of functions are messages of their own."""
    texts: list[Json] = []
    is_empty = True
    for block in content:
        is_empty = False
        kind = _kind(block, (*_SHOWN, "tool_result"))
        if kind != "tool_result":
            texts += _shown(block, kind)
            continue
        if texts:
            yield {"role": "user", "content": texts}
            texts = []
        yield _result(block)
    if texts or is_empty:
        yield {"role": "user", "content": texts}


def _shown(block: Fields, kind: str) -> list[JsonObject]:
    """Take what the model is to read or see. Raises WrongField."""
    if kind in ("document", "search_result"):
        return documents.take(block, kind, _inside)
    return [_text(block) if kind == "text" else _picture(block)]


def _inside(outer: Fields, name: str, kinds: tuple[str, ...]) -> list[JsonObject]:
    """Take the blocks inside of another one."""
    return [part for block in blocks(outer, name) for part in _shown(block, _kind(block, kinds))]


def _picture(block: Fields) -> JsonObject:
    source = block.inner("source")
    kind = source.choice("type", ("base64", "url"))
    name = "url" if kind == "url" else "data"
    given = source.text(name)
    if kind is None or given is None:
        raise source.wrong(name, "is missing.")
    source.without_effect(("media_type",))
    source.end()
    block.without_effect(WITHOUT_EFFECT)
    block.end()
    return (of_url if kind == "url" else of_base64)(given, source.path(name)).part()


def _result(block: Fields) -> JsonObject:
    """Take what a function has returned; of one that has failed the model is told that."""
    content = _inside(block, "content", _SHOWN)
    call_id = block.needed("tool_use_id", "it says which call this is the result of.")
    if block.flag("is_error"):
        content = [{"type": "text", "text": "Error: "}, *content]
    block.without_effect(WITHOUT_EFFECT)
    block.end()
    return {"role": "tool", "content": content, "tool_call_id": call_id}


def _of_assistant(content: Iterable[Fields]) -> JsonObject:
    text, thoughts, calls = "", "", []
    for block in content:
        kind = _kind(block, ("text", "thinking", "redacted_thinking", "tool_use"))
        if kind == "text":
            block.without_effect(("citations",))  # where other servers' models had it from
            text += _text(block)["text"]
        elif kind == "redacted_thinking":  # only who has encrypted it could read it
            block.without_effect(("data",))
            block.end()
        elif kind == "thinking":
            thoughts += block.text("thinking") or ""
            block.without_effect(("signature",))
            block.end()
        else:
            calls.append(_call(block))
    message: JsonObject = {"role": "assistant", "content": text}
    if thoughts:
        message["reasoning"] = thoughts
    return {**message, "tool_calls": calls} if calls else message


def _call(block: Fields) -> JsonObject:
    call_id, name = block.needed("id"), block.needed("name")
    arguments = block.any("input")
    if not isinstance(arguments, dict):
        raise block.wrong("input", "must be an object.")
    block.without_effect((*WITHOUT_EFFECT, "caller"))
    block.end()
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _kind(block: Fields, kinds: tuple[str, ...]) -> str:
    kind = block.text("type")
    if kind not in kinds:
        raise block.wrong("type", f"can only be {' or '.join(kinds)} here: {kind} is not supported.")
    return kind


def _texts(content: Iterable[Fields]) -> list[JsonObject]:
    """Return blocks that may only be texts, as the parts of a message."""
    found: list[JsonObject] = []
    for block in content:
        _kind(block, ("text",))
        found.append(_text(block))
    return found


def _text(block: Fields) -> JsonObject:
    text = block.needed("text")
    block.neutral({"citations": ([],)})
    block.without_effect(WITHOUT_EFFECT)
    block.end()
    return {"type": "text", "text": text}


def _shortest(content: Json) -> Json:
    """Return the content of a message: a text instead of its only part."""
    if not isinstance(content, list) or len(content) > 1 or (content and content[0]["type"] != "text"):
        return content
    return content[0]["text"] if content else ""


def _joined(said: Iterable[_Said]) -> Iterable[_Said]:
    """Yield messages of which no two that follow each other are a user's: many templates know only one at a time."""
    for role, group in groupby(said, key=_role):
        if role != "user":
            yield from group
            continue
        together = [*group]
        parts: list[Json] = [*together[0][1]["content"]]
        for _, message in together[1:]:
            parts += [{"type": "text", "text": "\n\n"}, *message["content"]]
        yield together[-1][0], {"role": role, "content": parts}


def _role(said: _Said) -> Json:
    _, message = said
    return message["role"]

"""server.count_tokens: how many tokens a text has, or the prompt of a run with these messages."""

from __future__ import annotations

from typing import Final

from rkllmd.calls.arguments import Converted
from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.errors import InvalidParams
from rkllmd.json_types import JsonObject
from rkllmd.language import placeholders, prompt_length, token_counts
from rkllmd.language.chats.messages import MESSAGES, TOOLS, read
from rkllmd.language.model import Model
from rkllmd.language.runs.rendering import templates
from rkllmd.portable.extension import ALL, Counted
from rkllmd.rkllm._common import LLM
from rkllmd.service.parts import Service
from rkllmd.wire.long_strings import plain

_TEXT: Final = Value("text", {"type": ["string", "null"], "description": "counted as it is"}, required=False)
_THINKING: Final = Value("enable_thinking", {"type": ["boolean", "null"]}, required=False)
_SPECIAL: Final = Value(
    "special",
    {"type": ["boolean", "null"], "description": "true: control markers in the text are control tokens"},
    required=False,
)


def _check(
    service: Service,
    invocation: Invocation,
    model: Model,
    text: str | None = None,
    messages: Converted | None = None,
    special: bool | None = None,
    **_: object,
) -> None:
    if (text is None) == (messages is None):
        raise InvalidParams("It counts a text or messages: give one of them.", path="$", keyword="oneOf")
    conversation = () if messages is None else read(messages.json)
    if any(message.media for message in conversation):
        raise InvalidParams(
            "The tokens of pictures, video and audio can't be counted.", path="$.messages", keyword="type"
        )
    said = [text or ""] if messages is None else [message.text for message in conversation]
    where = "$.text" if messages is None else "$.messages"
    prompt_length.check_size(model, sum(len(part.encode()) for part in said), where)
    token_counts.check(service.language.runtime, model)
    if special is False and messages is None and service.language.runtime.extension is None:
        raise service.language.runtime.not_supported('"special": false', needs="the portable runtime")


@method(Kind.ORDERED, [LLM, _TEXT, MESSAGES, TOOLS, _THINKING, _SPECIAL], check=_check)
def count_tokens(
    service: Service,
    invocation: Invocation,
    model: Model,
    text: str | None = None,
    messages: Converted | None = None,
    tools: list[JsonObject] | None = None,
    enable_thinking: bool | None = None,
    special: bool | None = None,
) -> JsonObject:
    """Return the count; that of messages includes all that the chat template adds, up to where the answer begins."""
    language = service.language
    if messages is None:
        counted = Counted(ALL if special else (), part=True)
        return {"tokens": token_counts.count(language.runtime, model, (text or "").encode(), counted)}
    template = templates.of_conversation(language, model, plain(tools) or (), thinking=bool(enable_thinking))
    told = template.whole(read(messages.json, special=bool(special)))
    told = told.changed(lambda part: placeholders.as_plain_words(part, model.library.layout))
    counted = Counted(told.spans, bare=template.is_bare, thinking=bool(enable_thinking))
    tokens = token_counts.count(language.runtime, model, told.encode(), counted)
    return {"tokens": tokens, "template": template.source}

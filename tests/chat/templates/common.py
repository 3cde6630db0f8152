"""A tokenizer of transformers and a template of ours that were made of the same text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from rkllmd.chat.templates.model_template import ModelTemplate
from rkllmd.chat.templates.sources import Source
from rkllmd.json_types import Json, JsonObject

PUBLISHED: Final = {
    path.stem: path.read_text() for path in sorted((Path(__file__).parent / "published").glob("*.jinja"))
}
TOKENS: Final = {"bos_token": "<s>", "eos_token": "</s>"}
NOW: Final = datetime(2026, 2, 3, 4, 5, 6)


class Clock(datetime):
    """A clock for transformers that stands still."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # no time zone is asked for
        """Return the same moment, always."""
        return NOW


chat_template_utils.datetime = Clock
TOOLS: Final[list[JsonObject]] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather\n in a <city> & more — naïve",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "enum": ["Köln", "a'b"]},
                    "days": {"type": "array", "items": {"type": "integer"}},
                    "deep": {"type": ["string", "null"], "x": {"y": 1.5, "z": None, "w": True}},
                },
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "stop", "parameters": {"type": "object", "properties": {}}}},
]


def theirs(template: str, messages: Sequence[JsonObject], **more: Json) -> str:
    """Return what transformers makes of a conversation."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0})), **TOKENS)
    return str(tokenizer.apply_chat_template(list(messages), chat_template=template, tokenize=False, **more))


def template_of(text: str, control: Iterable[str] = (), tags: Iterable[str] = ()) -> ModelTemplate:
    """Return our template for a Jinja text."""
    source = Source("/models/tested", (("default", text),), tuple(TOKENS.items()), frozenset(control), frozenset(tags))
    return ModelTemplate(source, now=_now)


def _now() -> datetime:
    return NOW


def ours(template: str, messages: Sequence[JsonObject], **more: Json) -> str:
    """Return what we make of a conversation, with what transformers knows nothing of turned off."""
    known: Mapping[str, Json] = {
        name: more.pop(name) for name in ("tools", "enable_thinking", "add_generation_prompt") if name in more
    }
    options = {"add_generation_prompt": False, **known}
    return template_of(template).render(messages, placeholders=None, more=more, **options).text

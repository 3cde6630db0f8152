"""Control markers in what people write become plain words: ``<|im_end|>`` becomes ``< |im_end|>``.

Otherwise a text that somebody has pasted could end its own turn, and speak as the system. The rule is that of
placeholders (``rkllmd/language/placeholders.py``): a space after the first character. A space is what models have seen
most often between any two characters, and the text stays readable to people, which an invisible character would not be
to models: it becomes three tokens of bytes.

Which markers: every control token, in every message. Tags (``<think>``, ``<tool_call>``), which are tokens without
being control tokens, become words in what users and tools say, if the template itself writes them; in what the system
or the assistant says they are meant, and templates look for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from rkllmd.json_types import Json, JsonObject

# Who says what was not written for the model alone.
_OUTSIDERS: Final = ("user", "tool")
# Control tokens of the models that RKLLM converts, for a model whose tokenizer is not there to tell.
_KNOWN: Final = frozenset(
    (
        *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|action_start|>", "<|action_end|>", "<|observation|>"),
        *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        *("<|eom_id|>", "<|python_tag|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>"),
        *("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<s>", "</s>", "[INST]", "[/INST]"),
        *("<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),  # noqa: RUF001 - DeepSeek's
    )
)
# A marker has at least this many characters: a single one can't be split.
_SHORTEST: Final = 2
# Splitting a marker may complete another one; no known tokenizer needs a second round.
_ROUNDS: Final = 4


class PlainWords:
    """Knows the markers of one model."""

    def __init__(self, control: Iterable[str], tags: Iterable[str], placeholders: Iterable[str] = ()) -> None:
        self._control = frozenset(text for text in control if len(text) >= _SHORTEST and not text.isspace())
        self._tags = frozenset(text for text in tags if len(text) >= _SHORTEST and not text.isspace())
        self._placeholders = frozenset(placeholders)

    def of_messages(self, messages: Sequence[JsonObject]) -> list[JsonObject]:
        """Return messages in which no marker stands that its author must not use."""
        return [self._of_message(message) for message in messages]

    def of_value(self, value: Json) -> Json:
        """Return a JSON value, such as tools, without control tokens in its texts and names."""
        return _mapped(value, _pattern(self._control | self._placeholders))

    def spans(self, text: str) -> tuple[tuple[int, int], ...]:
        """Return the bytes [begin, end) of each control token in a text that was rendered."""
        pattern = _pattern(self._control)
        if pattern is None:
            return ()
        spans, at, position = [], 0, 0
        for match in pattern.finditer(text):
            position += len(text[at : match.start()].encode())
            end = position + len(match[0].encode())
            spans.append((position, end))
            at, position = match.end(), end
        return tuple(spans)

    def _of_message(self, message: JsonObject) -> JsonObject:
        outside = message.get("role") in _OUTSIDERS
        pattern = _pattern(self._control | self._placeholders | (self._tags if outside else frozenset()))
        if pattern is None:
            return message
        content = message.get("content")
        plain = {key: _mapped(value, pattern) for key, value in message.items() if key != "content"}
        if "content" in message:
            plain["content"] = _of_parts(content, pattern) if isinstance(content, list) else _mapped(content, pattern)
        return {key: plain[key] for key in message}


def without_markers(text: str) -> str:
    """Return a text for a model whose tokenizer is not known, with the control tokens of all common ones as words."""
    pattern = _pattern(_KNOWN)
    return text if pattern is None else _split(text, pattern)


@lru_cache(maxsize=64)
def _pattern(markers: frozenset[str]) -> re.Pattern[str] | None:
    """Return what finds any of the markers, the longest first."""
    if not markers:
        return None
    return re.compile("|".join(map(re.escape, sorted(markers, key=lambda text: (-len(text), text)))))


def _split(text: str, pattern: re.Pattern[str]) -> str:
    for _ in range(_ROUNDS):
        plain = pattern.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
        if plain == text:
            break
        text = plain
    return text


def _mapped(value: Json, pattern: re.Pattern[str] | None) -> Json:
    if pattern is None:
        return value
    if isinstance(value, str):
        return _split(value, pattern)
    if isinstance(value, dict):
        return {_split(key, pattern): _mapped(item, pattern) for key, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, pattern) for item in value]
    return value


def _of_parts(parts: Sequence[Json], pattern: re.Pattern[str]) -> list[Json]:
    """Return a message's parts; texts between which a marker is divided become one, as a template may join them."""
    texts = [_split(part["text"], pattern) if _is_text(part) else "" for part in parts]
    joined = "".join(texts)
    if pattern.search(joined):
        first = next(index for index, part in enumerate(parts) if _is_text(part))
        texts = [_split(joined, pattern) if index == first else "" for index in range(len(parts))]
    return [{**part, "text": text} if _is_text(part) else part for part, text in zip(parts, texts, strict=True)]


def _is_text(part: Json) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)

"""What a model without a template of its own is given: a conversation between markers that were set, or in words.

Functions are offered, called and answered as Hermes, Qwen and their kin are trained, which most models understand.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import orjson

from rkllmd.chat.templates.forms import Forms
from rkllmd.chat.templates.messages import check_roles, with_placeholders
from rkllmd.chat.templates.plain_words import PlainWords
from rkllmd.chat.templates.template import PLACEHOLDERS, ChatTemplate, Rendered, Span
from rkllmd.json_types import Json, JsonObject
from rkllmd.portable.demo.text.layout import tool_response, tools_prompt

# Control tokens of the models that RKLLM converts. Which one a model has can't be known without its tokenizer.
WELL_KNOWN: Final = (
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|action_start|>", "<|action_end|>"),
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
    *("<|python_tag|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>", "<|observation|>"),
    *("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<s>", "</s>", "[INST]", "[/INST]"),
    *("<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),  # noqa: RUF001 - as DeepSeek has them
)
_TAG: Final = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]")
# A system prompt between its markers, such as <|im_start|>system\n…<|im_end|>\n.
_AROUND_SYSTEM: Final = re.compile(r"((?:<[^<>\s]+>(?:system)?\n*)*)(.*?)((?:<[^<>\s]+>\n*)*)", re.DOTALL)
_FIRST_TAG: Final = re.compile(r"<[^<>\s]+>\n?")
_SPEAKER: Final = re.compile(r"^(?=(?:System|User|Assistant):)", re.MULTILINE)

# Content as text, and arguments of calls as objects.
_FORMS: Final = Forms(text=True, parts=False, object_arguments=True)
# A piece of text, and whether it is the template's own.
_Piece = tuple[str, bool]


class _Fallback(ChatTemplate):
    def __init__(self, control: Sequence[str]) -> None:
        self._control = control

    def render(
        self,
        messages: Sequence[JsonObject],
        *,
        tools: Sequence[JsonObject] | None = None,
        enable_thinking: bool | None = None,
        add_generation_prompt: bool = True,
        placeholders: Mapping[str, str] | None = PLACEHOLDERS,
        more: Mapping[str, Json] | None = None,
    ) -> Rendered:
        """Return the text of a conversation (``ChatTemplate.render``); nothing is known of thinking."""
        check_roles(messages)
        words = PlainWords((*WELL_KNOWN, *self._control), (), PLACEHOLDERS.values())
        shown = with_placeholders(words.of_messages(messages), placeholders or PLACEHOLDERS)
        plain = [_FORMS.message(message) for message in shown]
        system = "\n\n".join(message.get("content", "") for message in plain if message["role"] == "system")
        if tools:
            system = tools_prompt(system, "\n".join(map(_json, words.of_value(list(tools)))))
        turns = [message for message in plain if message["role"] != "system"]
        pieces = list(self._pieces(system, turns, add_generation_prompt))
        return Rendered("".join(text for text, _ in pieces), self.origin, _spans(pieces))

    @abstractmethod
    def _pieces(self, system: str, turns: Sequence[JsonObject], answer: bool) -> Iterator[_Piece]:
        """Yield the conversation; ``answer``: up to where the answer begins."""


class MarkerTemplate(_Fallback):
    """Made from the strings of rkllm_set_chat_template: what a system prompt is, and what stands around a question."""

    origin = "markers"

    def __init__(self, system_prompt: str, prompt_prefix: str, prompt_postfix: str) -> None:
        self._system, self._prefix, self._postfix = system_prompt, prompt_prefix, prompt_postfix
        tag = _FIRST_TAG.match(prompt_postfix)
        # A postfix ends the question and begins the answer. If it has several tags, the first one ends a turn.
        self._end = tag.group() if tag is not None and tag.end() < len(prompt_postfix) else ""
        super().__init__(_TAG.findall(system_prompt + prompt_prefix + prompt_postfix))

    def _pieces(self, system: str, turns: Sequence[JsonObject], answer: bool) -> Iterator[_Piece]:
        head, text, tail = _parts_of_system(self._system)
        pending = system if system and not self._system else ""
        if self._system:
            yield head, True
            yield system or text, False
            yield tail, True
        asked = False
        for turn in turns:
            if turn["role"] == "assistant":
                yield self._postfix if asked else self._prefix + self._postfix, True
                yield _answer(turn), False
                yield self._end, True
            else:
                yield self._end + self._prefix if asked else self._prefix, True
                yield f"{pending}\n\n{_question(turn)}" if pending else _question(turn), False
                pending = ""
            asked = turn["role"] != "assistant"
        if answer:
            yield self._postfix if asked else self._prefix + self._postfix, True


class WordTemplate(_Fallback):
    """Makes a conversation that is written as people write one down."""

    origin = "words"

    def __init__(self) -> None:
        super().__init__(())

    def _pieces(self, system: str, turns: Sequence[JsonObject], answer: bool) -> Iterator[_Piece]:
        said = [_as_said(system)] if system else []
        for turn in turns:
            is_answer = turn["role"] == "assistant"
            text = _as_said(_answer(turn) if is_answer else _question(turn))
            said.append(f"Assistant: {text}" if is_answer else f"User: {text}")
        yield "\n\n".join([*said, "Assistant: "] if answer else said), False


def _parts_of_system(system_prompt: str) -> tuple[str, str, str]:
    """Return what stands before the words of a system prompt, the words, and what stands after them."""
    found = _AROUND_SYSTEM.fullmatch(system_prompt)
    return (found[1], found[2], found[3]) if found is not None else ("", system_prompt, "")


def _question(turn: JsonObject) -> str:
    return tool_response(turn.get("content", "")) if turn["role"] == "tool" else str(turn.get("content", ""))


def _answer(turn: JsonObject) -> str:
    calls = [call.get("function", call) for call in turn.get("tool_calls", ())]
    written = [_json({"name": call.get("name"), "arguments": call.get("arguments")}) for call in calls]
    return "\n".join(
        part for part in (turn.get("content"), *(f"<tool_call>{call}</tool_call>" for call in written)) if part
    )


def _as_said(text: str) -> str:
    """Return a text in which no line begins as if somebody else spoke: with a space before the name."""
    return _SPEAKER.sub(" ", text)


def _json(value: Json) -> str:
    return orjson.dumps(value).decode()


def _spans(pieces: Sequence[_Piece]) -> tuple[Span, ...]:
    spans: list[Span] = []
    at = 0
    for text, ours in pieces:
        end = at + len(text.encode())
        if ours and text:
            spans.append((at, end))
        at = end
    return tuple(spans)

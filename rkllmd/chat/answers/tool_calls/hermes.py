"""Calls between two marks: ``<tool_call>{"name": …, "arguments": {…}}</tool_call>``.

So write Hermes and Qwen, and with other marks Phi-4, InternLM and Granite.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from rkllmd.chat.answers.events import Reading
from rkllmd.chat.answers.tool_calls.call import Answer
from rkllmd.chat.answers.tool_calls.json_call import calls


def between(answer: Answer, opening: tuple[str, ...], closing: tuple[str, ...]) -> Reading[None]:
    """Read an answer whose calls stand between marks."""
    while (yield from answer.text_until(*opening)) is not None:
        yield from objects(answer, closing)


def objects(answer: Answer, closing: tuple[str, ...]) -> Reading[None]:
    """Read one call, an array or some lines of them, and the mark that closes them."""
    while (yield from calls(answer)):
        if (yield from answer.source.skip_space()) != "{":
            yield from answer.close(*closing)
            return
    answer.fail()


_Form = Callable[[Answer], Reading[None]]

hermes: Final[_Form] = partial(between, opening=("<tool_call>",), closing=("</tool_call>",))
# Granite's mark is Phi-4-mini's without an end; ``functools`` comes from the same models through other templates.
phi: Final[_Form] = partial(
    between,
    opening=("<|tool_call|>", "<|tool_calls|>", "functools"),
    closing=("<|/tool_call|>", "<|/tool_calls|>"),
)
internlm: Final[_Form] = partial(
    between, opening=("<|action_start|><|plugin|>", "<|action_start|> <|plugin|>"), closing=("<|action_end|>",)
)

"""Answers of GPT-OSS, in messages on channels (OpenAI's "harmony"): thoughts, text and calls alike.

``<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…``; a call is a message to a
function: ``<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}<|call|>``.
"""

from __future__ import annotations

import re
from typing import Final

from rkllmd.chat.answers.events import Reading
from rkllmd.chat.answers.reasoning import Thoughts
from rkllmd.chat.answers.stop import StopMatcher, marks
from rkllmd.chat.answers.tool_calls.call import MAX_NAME, Answer
from rkllmd.chat.answers.tool_calls.json_call import arguments_of

_BEGINS: Final = ("<|start|>", "<|channel|>")
_ENDS: Final = ("<|end|>", "<|return|>", "<|call|>")
_MESSAGE: Final = "<|message|>"
_RECIPIENT: Final = re.compile(r"\bto=(?:functions\.)?([\w.-]+)")
_THOUGHTS: Final = re.compile(r"(?:^|<\|channel\|>)\s*analysis\b")


def harmony(answer: Answer) -> Reading[None]:
    """Read an answer, with its thoughts."""
    thoughts = Thoughts(answer.emit)
    while (found := (yield from answer.text_until(*_BEGINS, *_ENDS))) is not None:
        if found in _ENDS:
            answer.settle()
            continue
        header = yield from _header(answer)
        recipient = None if header is None else _RECIPIENT.search(header)
        if header is None:
            answer.fail()
        elif recipient is not None and answer.tools:
            if not (yield from arguments_of(answer, recipient[1])):
                answer.fail()
        elif recipient is None and _THOUGHTS.search(header):
            yield from _think(answer, thoughts)
        else:
            answer.settle()


def _header(answer: Answer) -> Reading[str | None]:
    """Read what stands before a message, and the mark of its beginning; None if it is too long for that."""
    parts: list[str] = []
    while sum(map(len, parts)) <= MAX_NAME:
        part = yield from answer.source.word("<", MAX_NAME)
        if part is None:
            return None
        parts.append(part)
        mark = yield from answer.source.literal(_MESSAGE, "<|channel|>", "<|constrain|>")
        if mark == _MESSAGE:
            return "".join(parts)
        if not mark:
            return None
        parts.append(mark)
    return None


def _think(answer: Answer, thoughts: Thoughts) -> Reading[None]:
    """Pass a message on as thoughts, up to the mark that ends it."""
    answer.settle()
    matcher = StopMatcher(marks(_ENDS))
    while matcher.found is None:
        thoughts.write(matcher.feed(answer.source.take_all()))
        if answer.source.has_ended:
            thoughts.write(matcher.end())
            break
        if matcher.found is None:
            yield
    thoughts.write("\n")
    answer.source.put_back(matcher.rest)

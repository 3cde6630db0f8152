"""Calls as Gemma writes them.

Gemma 3: Python between ```` ```tool_code ```` and a fence. FunctionGemma:
``<start_function_call>call:NAME{key:<escape>text<escape>,key:2}<end_function_call>``. Gemma 4 the same with other
marks: ``<|tool_call>call:NAME{key:<|"|>text<|"|>}<tool_call|>``.
"""

from __future__ import annotations

from typing import Final

from rkllmd.chat.answers.events import Reading
from rkllmd.chat.answers.syntax.literals import Literals
from rkllmd.chat.answers.tool_calls.call import MAX_NAME, Answer, Call
from rkllmd.chat.answers.tool_calls.pythonic import python_calls

_FENCE: Final = "```"
# What begins a call → what ends it, and what stands around its strings.
_MARKS: Final = {
    "<start_function_call>": ("<end_function_call>", "<escape>"),
    "<|tool_call>": ("<tool_call|>", '<|"|>'),
}


def gemma(answer: Answer) -> Reading[None]:
    """Read an answer."""
    while (found := (yield from answer.text_until(f"{_FENCE}tool_code", *_MARKS))) is not None:
        if found in _MARKS:
            if not (yield from _call(answer, *_MARKS[found])):
                answer.fail()
        elif (yield from python_calls(answer)):
            yield from answer.close(_FENCE)
        else:
            answer.fail()


def _call(answer: Answer, end: str, string_mark: str) -> Reading[bool]:
    """Read a call after the mark that begins it, and return whether it is one."""
    source = answer.source
    yield from source.skip_space()
    if not (yield from source.literal("call:")):
        return False
    name = yield from source.word("{<\n", MAX_NAME)
    if not name or not name.strip() or (yield from source.peek()) != "{":
        return False
    call = Call(answer)
    call.name = answer.tool(name.strip())
    call.begin()
    text = yield from answer.raw_until(end)
    try:
        if text is None:
            raise ValueError("the call does not end")
        arguments = Literals(text, string_mark).arguments()
    except ValueError:
        call.drop()
        return False
    call.end_with(arguments)
    return True

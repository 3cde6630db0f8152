"""Calls as Llama 3 writes them: JSON after ``<|python_tag|>``, or the whole answer is JSON.

``{"name": …, "parameters": {…}}``, several of them separated by semicolons; and for built-in tools
``<|python_tag|>brave_search.call(query="…")``.
"""

from __future__ import annotations

from rkllmd.chat.answers.events import Reading
from rkllmd.chat.answers.tool_calls.call import Answer
from rkllmd.chat.answers.tool_calls.json_call import call
from rkllmd.chat.answers.tool_calls.pythonic import python_calls

_TAG = "<|python_tag|>"


def llama(answer: Answer) -> Reading[None]:
    """Read an answer. JSON without the tag is a call only if it names a tool: it may be what the user wants to see."""
    answer.source.attempt()
    first = yield from answer.source.skip_space()
    if first == "{":
        yield from _objects(answer, only_known=True)
    else:
        answer.fail()
    while (yield from answer.text_until(_TAG)) is not None:
        if (yield from answer.source.skip_space()) == "{":
            yield from _objects(answer, only_known=False)
        else:
            yield from python_calls(answer)
            answer.fail()  # what is no call, or whitespace after calls


def _objects(answer: Answer, *, only_known: bool) -> Reading[None]:
    """Read one object after the other, as long as they are calls."""
    while (yield from call(answer, only_known=only_known)):
        if (yield from answer.source.skip_space()) == ";":
            answer.source.take(1)
            yield from answer.source.skip_space()
        if (yield from answer.source.peek()) != "{":
            break
    answer.fail()

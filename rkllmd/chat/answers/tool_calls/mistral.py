"""Calls as Mistral writes them: ``[TOOL_CALLS] [{"name": …, "arguments": {…}}]``.

From its tokenizer v11 on ``[TOOL_CALLS]NAME[ARGS]{…}``, at times with ``[CALL_ID]…`` before the arguments.
"""

from __future__ import annotations

from rkllmd.chat.answers.events import Reading
from rkllmd.chat.answers.tool_calls.call import MAX_NAME, Answer
from rkllmd.chat.answers.tool_calls.json_call import arguments_of, calls


def mistral(answer: Answer) -> Reading[None]:
    """Read an answer."""
    while (yield from answer.text_until("[TOOL_CALLS]")) is not None:
        first = yield from answer.source.skip_space()
        if not (yield from calls(answer) if first and first in "[{" else _named(answer)):
            answer.fail()


def _named(answer: Answer) -> Reading[bool]:
    """Read a name and its arguments, and return whether they are a call."""
    name = yield from answer.source.word("[{\n", MAX_NAME)
    if name is None:
        return False
    if (yield from answer.source.literal("[CALL_ID]", "[ARGS]")) == "[CALL_ID]":
        yield from answer.source.word("[{", MAX_NAME)
        yield from answer.source.literal("[ARGS]")
    return (yield from arguments_of(answer, name))

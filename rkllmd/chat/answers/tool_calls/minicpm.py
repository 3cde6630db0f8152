"""Calls as MiniCPM and LFM2 write them: Python between ``<|tool_call_start|>`` and ``<|tool_call_end|>``.

MiniCPM puts a fence around it, LFM2 writes a list, and both take JSON where they were told so.
"""

from __future__ import annotations

from rkllmd.chat.answers.events import Reading
from rkllmd.chat.answers.tool_calls.call import Answer
from rkllmd.chat.answers.tool_calls.json_call import calls
from rkllmd.chat.answers.tool_calls.pythonic import python_calls

_FENCE = "```"


def minicpm(answer: Answer) -> Reading[None]:
    """Read an answer."""
    source = answer.source
    while (yield from answer.text_until("<|tool_call_start|>")) is not None:
        yield from source.skip_space()
        is_fenced = yield from source.literal(f"{_FENCE}python", f"{_FENCE}json", _FENCE)
        is_json = (yield from source.skip_space()) == "{"
        if not (yield from calls(answer) if is_json else python_calls(answer)):
            answer.fail()
            continue
        if is_fenced:
            yield from answer.close(_FENCE)
        yield from answer.close("<|tool_call_end|>")

"""Calls as DeepSeek writes them, between marks with bars and blocks of its own.

With | for a full-width bar and _ for a low block: R1 and V3 write ``<|tool_call_begin|>function<|tool_sep|>NAME`` and
a line ```` ```json ````, V3.1 ``<|tool_call_begin|>NAME<|tool_sep|>{…}``. Around them all stand
``<|tool_calls_begin|>`` and ``<|tool_calls_end|>``.
"""

from __future__ import annotations

from typing import Final

from rkllmd.chat.answers.events import Reading
from rkllmd.chat.answers.tool_calls.call import MAX_NAME, Answer
from rkllmd.chat.answers.tool_calls.json_call import arguments_of

_BAR, _BLOCK = "\uff5c", "\u2581"


def _marks(name: str) -> tuple[str, ...]:
    """Return a mark and how distilled models misspell it."""
    return tuple(f"<{_BAR}{name.replace(' ', between)}{_BAR}>" for between in (_BLOCK, "_", " "))


_ALL_BEGIN: Final = _marks("tool calls begin")
_ALL_END: Final = _marks("tool calls end")
_BEGIN: Final = _marks("tool call begin")
_END: Final = _marks("tool call end")
_SEPARATOR: Final = _marks("tool sep")
_FENCE: Final = "```"


def deepseek(answer: Answer) -> Reading[None]:
    """Read an answer."""
    while (found := (yield from answer.text_until(*_ALL_BEGIN, *_BEGIN))) is not None:
        if found in _ALL_BEGIN:
            yield from answer.source.skip_space()
            if not (yield from answer.source.literal(*_BEGIN)):
                answer.fail()
                continue
        yield from _calls(answer)


def _calls(answer: Answer) -> Reading[None]:
    """Read one call after the other, up to the mark that ends them all."""
    while (yield from _call(answer)):
        yield from answer.source.skip_space()
        found = yield from answer.source.literal(*_BEGIN, *_ALL_END)
        if found in _ALL_END:
            answer.settle()
            return
        if not found:
            break
    answer.fail()


def _call(answer: Answer) -> Reading[bool]:
    """Read a call after the mark that begins it, and the mark that ends it."""
    source = answer.source
    name = yield from source.word("<", MAX_NAME)
    if name is None or not (yield from source.literal(*_SEPARATOR)):
        return False
    is_fenced = name.strip() == "function"
    if is_fenced:
        name = yield from source.word("\n{", MAX_NAME)
        yield from source.skip_space()
        yield from source.literal(f"{_FENCE}json", _FENCE)
    if name is None or not (yield from arguments_of(answer, name)):
        return False
    if is_fenced:
        yield from answer.close(_FENCE)
    yield from answer.close(*_END)
    return True

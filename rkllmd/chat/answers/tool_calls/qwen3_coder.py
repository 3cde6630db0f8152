"""Calls as Qwen3-Coder and Qwen3.5 write them: each argument is plain text between tags of its own.

``<tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>``; the outer tag is left out at
times. What type a value has says the tool's schema only.
"""

from __future__ import annotations

from rkllmd.chat.answers.events import Reading
from rkllmd.chat.answers.syntax.coercion import coerce
from rkllmd.chat.answers.tool_calls.call import MAX_NAME, Answer, Call
from rkllmd.chat.answers.tool_calls.hermes import objects
from rkllmd.json_types import JsonObject

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_FUNCTION, _FUNCTION_END = "<function=", "</function>"
_PARAMETER, _PARAMETER_END = "<parameter=", "</parameter>"


def qwen3_coder(answer: Answer) -> Reading[None]:
    """Read an answer; where JSON stands between the outer tags it is taken as well."""
    while (found := (yield from answer.text_until(_OPEN, _FUNCTION))) is not None:
        if found == _OPEN and (yield from answer.source.skip_space()) == "{":
            yield from objects(answer, (_CLOSE,))
            continue
        if found == _OPEN and not (yield from answer.source.literal(_FUNCTION)):
            answer.fail()
            continue
        yield from _functions(answer)


def _functions(answer: Answer) -> Reading[None]:
    """Read one function after the other, up to the outer tag's end."""
    while (yield from _function(answer)):
        yield from answer.source.skip_space()
        found = yield from answer.source.literal(_FUNCTION, _CLOSE)
        if found == _CLOSE:
            answer.settle()
            return
        if not found:
            break
    answer.fail()


def _function(answer: Answer) -> Reading[bool]:
    """Read a function from its name on, and return whether it is a call."""
    name = yield from answer.source.word(">", MAX_NAME)
    if not name or not name.strip():
        return False
    answer.source.take(1)
    call = Call(answer)
    call.name = answer.tool(name.strip())
    call.begin()
    arguments = yield from _parameters(answer, answer.tools.get(call.name, {}))
    if arguments is None:
        call.drop()
        return False
    call.end_with(arguments)
    return True


def _parameters(answer: Answer, schema: JsonObject) -> Reading[JsonObject | None]:
    arguments: JsonObject = {}
    while True:
        yield from answer.source.skip_space()
        match (yield from answer.source.literal(_PARAMETER, _FUNCTION_END)):
            case "<parameter=":
                key = yield from answer.source.word(">", MAX_NAME)
                if key is None:
                    return None
                answer.source.take(1)
                value = yield from answer.raw_until(_PARAMETER_END)
                if value is None:
                    return None
                arguments[key.strip()] = coerce(value.removeprefix("\n").removesuffix("\n"), key.strip(), schema)
            case "</function>":
                return arguments
            case _:
                return None

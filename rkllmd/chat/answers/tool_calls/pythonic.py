"""Calls written as Python: ``get_weather(city="Paris", days=2)``, several in a list or on lines of their own."""

from __future__ import annotations

import re
from typing import Final

from rkllmd.chat.answers.events import Reading
from rkllmd.chat.answers.syntax.literals import Literals
from rkllmd.chat.answers.syntax.nesting import balanced
from rkllmd.chat.answers.tool_calls.call import MAX_NAME, Answer, Call

_NAME: Final = re.compile(r"[^\W\d]\w*(?:\.\w+)*")
_QUOTES: Final = "\"'"


def python_calls(answer: Answer) -> Reading[bool]:
    """Read calls, and whitespace after them, and return whether all that was begun is one.

    If not, the attempt has what is none, and the rest of it is still unread.
    """
    source = answer.source
    in_list = (yield from source.skip_space()) == "["
    if in_list:
        source.take(1)
    while True:
        if not (yield from _call(answer)):
            return False
        following = yield from source.skip_space()
        if in_list and following == "]":
            source.take(1)
            answer.settle()
            return True
        if in_list and following == ",":
            source.take(1)
        elif in_list:
            return False
        elif following == ";":
            source.take(1)
        elif not following.isidentifier():
            return True


def _call(answer: Answer) -> Reading[bool]:
    """Read one call, or one that stands in ``print(…)``, and return whether it is one."""
    source = answer.source
    yield from source.skip_space()
    name = yield from source.word("( \n\"'[]{}<>`=,", MAX_NAME)
    is_printed = name == "print"
    if is_printed and (yield from source.peek()) == "(":
        source.take(1)
        yield from source.skip_space()
        name = yield from source.word("( \n\"'[]{}<>`=,", MAX_NAME)
    if name is None or not _NAME.fullmatch(name) or (yield from source.peek()) != "(":
        return False
    text = yield from balanced(source, _QUOTES)
    if text is None:
        return False
    try:
        arguments = Literals(text).arguments()
    except ValueError:
        return False
    if is_printed:
        if (yield from source.skip_space()) != ")":
            return False
        source.take(1)
    call = Call(answer)
    call.name = answer.tool(name.removesuffix(".call"))
    call.end_with(arguments)
    return True

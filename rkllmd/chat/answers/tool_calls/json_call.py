"""A call as a JSON object: ``{"name": …, "arguments": {…}}``, whose arguments are passed on as they come.

The members have the names that models use: ``parameters`` for the arguments, ``function`` for an object around both
(OpenAI's), or for the name.
"""

from __future__ import annotations

from typing import Final

from rkllmd.chat.answers.events import Reading
from rkllmd.chat.answers.source import Source
from rkllmd.chat.answers.syntax.json_text import parse
from rkllmd.chat.answers.syntax.nesting import balanced
from rkllmd.chat.answers.tool_calls.call import Answer, Call

_ARGUMENTS: Final = ("arguments", "parameters")
_NAMES: Final = ("name", "function")
_SCALAR_ENDS: Final = ",}] \t\r\n"
_MAX_SCALAR: Final = 64


class _Members:
    """What the members of a call's object have shown so far."""

    def __init__(self, answer: Answer, *, only_known: bool) -> None:
        self.call = Call(answer)
        self.arguments: str | None = None  # as JSON text
        self._known = answer.tools if only_known else None

    def is_name(self, value: str) -> bool:
        """Take the JSON text of the name, and return whether it is one."""
        try:
            name = parse(value)
        except ValueError:
            return False
        if self.call.name is not None or not isinstance(name, str) or not name:
            return False
        if self._known is not None and name not in self._known:
            return False
        self.call.name = name
        return True


def calls(answer: Answer, *, only_known: bool = False) -> Reading[bool]:
    """Read one call, or an array of calls, and return whether all is well; if not, the rest of it is still unread.

    ``only_known``: what names no tool of the conversation is no call.
    """
    source = answer.source
    if (yield from source.skip_space()) != "[":
        return (yield from call(answer, only_known=only_known))
    source.take(1)
    if (yield from source.skip_space()) == "]":
        return False
    while True:
        if not (yield from call(answer, only_known=only_known)):
            return False
        match (yield from source.skip_space()):
            case ",":
                source.take(1)
            case "]":
                source.take(1)
                answer.settle()
                return True
            case _:
                return False


def call(answer: Answer, *, only_known: bool = False) -> Reading[bool]:
    """Read one call, and return whether it is one."""
    members = _Members(answer, only_known=only_known)
    if (yield from answer.source.skip_space()) == "{" and (yield from _object(answer.source, members, depth=0)):
        if members.arguments is None and not only_known:
            members.arguments = "{}"
        if members.call.name and members.arguments is not None:
            return members.call.end(members.arguments)
    members.call.drop()
    return False


def arguments_of(answer: Answer, name: str) -> Reading[bool]:
    """Read the arguments of a call whose name stands before them, and return whether they are an object."""
    call = Call(answer)
    call.name = answer.tool(name.strip())
    if not call.name or (yield from answer.source.skip_space()) != "{":
        return False
    text = yield from balanced(answer.source, on_piece=call.argue)
    if text is None:
        call.drop()
    return text is not None and call.end(text)


def _object(source: Source, members: _Members, depth: int) -> Reading[bool]:
    """Read an object of which members tell of a call, and return whether it is whole."""
    source.take(1)
    if (yield from source.skip_space()) == "}":
        source.take(1)
        return True
    while True:
        key = yield from _key(source)
        if key is None or not (yield from _member(source, members, key, depth)):
            return False
        match (yield from source.skip_space()):
            case ",":
                source.take(1)
            case "}":
                source.take(1)
                return True
            case _:
                return False


def _key(source: Source) -> Reading[str | None]:
    """Read a member's name, the colon, and the whitespace around them."""
    if (yield from source.skip_space()) != '"':
        return None
    key = yield from balanced(source)
    if key is None or (yield from source.skip_space()) != ":":
        return None
    source.take(1)
    yield from source.skip_space()
    return key[1:-1]


def _member(source: Source, members: _Members, key: str, depth: int) -> Reading[bool]:
    """Read a member's value, and return whether it is whole and may stand there."""
    first = yield from source.peek()
    if key == "function" and first == "{" and not depth:
        return (yield from _object(source, members, depth=1))
    if key in _ARGUMENTS:
        return (yield from _arguments(source, members, first))
    value = yield from _value(source, first)
    return value is not None and (key not in _NAMES or members.is_name(value))


def _arguments(source: Source, members: _Members, first: str) -> Reading[bool]:
    if members.arguments is not None:
        return False
    if first == "{":
        members.arguments = yield from balanced(source, on_piece=members.call.argue)
    else:
        value = yield from _value(source, first)
        members.arguments = "{}" if value == "null" else value
    return members.arguments is not None


def _value(source: Source, first: str) -> Reading[str | None]:
    """Read a JSON value, and return its text, or None if it does not end."""
    if first and first in '"{[':
        return (yield from balanced(source))
    return (yield from source.word(_SCALAR_ENDS, _MAX_SCALAR))

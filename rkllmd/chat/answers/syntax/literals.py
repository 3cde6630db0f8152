"""Values as Python writes them, or Gemma: without evaluating anything, and only as deep as JSON may be.

``ast`` is not asked: it can be brought down by what a model is talked into writing.
"""

from __future__ import annotations

import re
from typing import Final

from rkllmd.chat.answers.syntax.json_text import parse
from rkllmd.chat.answers.syntax.nesting import MAX_DEPTH
from rkllmd.json_types import Json, JsonObject

_SPACE: Final = re.compile(r"\s*")
_NAME: Final = re.compile(r"[^\W\d][\w-]*")
_NUMBER: Final = re.compile(r"[+-]?(\d[\d_]*)?\.?\d*(?:[eE][+-]?\d+)?")
_STRING: Final = re.compile(r"[rRuUbBfF]?('(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\")", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "\n": ""}
_CONSTANTS: Final = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}
_BARE: Final = re.compile(r"[^,{}\[\]]+")


class Literals:
    """Reads values from the beginning of a text on. Raises ValueError for everything that is none."""

    def __init__(self, text: str, string_mark: str | None = None) -> None:
        """``string_mark``: what stands around a string, which has no escapes then, and a bare word is a string too."""
        self._text, self._at = text, 0
        self._mark = string_mark

    def arguments(self) -> JsonObject:
        """Return the arguments of a call, ``(key=value, …)``, or ``{key:value, …}`` with a mark around strings."""
        found: JsonObject = (
            self._pairs("{", ":", "}", 0, named=True) if self._mark else self._pairs("(", "=", ")", 0, named=True)
        )
        if self._next():
            raise ValueError("something stands after the arguments")
        return found

    def _next(self) -> str:
        """Pass over whitespace and return the next character, or nothing at the end."""
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at
        return self._text[self._at : self._at + 1]

    def _expect(self, char: str) -> None:
        if self._next() != char:
            raise ValueError(f"{char} is missing")
        self._at += 1

    def _pairs(self, opening: str, between: str, closing: str, depth: int, *, named: bool) -> JsonObject:
        self._expect(opening)
        found: JsonObject = {}
        while self._next() != closing:
            key = self._name() if named else self._value(depth)
            if not isinstance(key, str):
                raise ValueError("a name is no string")
            self._expect(between)
            found[key] = self._value(depth)
            if self._next() != closing:
                self._expect(",")
        self._at += 1
        return found

    def _name(self) -> str:
        if self._mark and self._text.startswith(self._mark, self._at):
            return self._marked()
        found = _NAME.match(self._text, self._at)
        if found is None:
            raise ValueError("a name is missing")
        self._at = found.end()
        return found[0]

    def _items(self, closing: str, depth: int) -> list[Json]:
        self._at += 1
        found = []
        while self._next() != closing:
            found.append(self._value(depth))
            if self._next() != closing:
                self._expect(",")
        self._at += 1
        return found

    def _value(self, depth: int) -> Json:
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        match self._next():
            case "{":
                return self._pairs("{", ":", "}", depth + 1, named=self._mark is not None)
            case "[":
                return self._items("]", depth + 1)
            case "(" if self._mark is None:
                return self._items(")", depth + 1)
        return self._marked_or_bare() if self._mark else self._scalar()

    def _scalar(self) -> Json:
        """Return a string, a constant or a number of Python."""
        parts = []
        while (string := _STRING.match(self._text, self._at)) is not None:  # strings in a row are one
            self._at = string.end()
            parts.append(string[1][1:-1] if string[0][0] in "rR" else _ESCAPE.sub(_unescaped, string[1][1:-1]))
            self._next()
        if parts:
            return _writable("".join(parts))
        name = _NAME.match(self._text, self._at)
        if name is not None and name[0] in _CONSTANTS:
            self._at = name.end()
            return _CONSTANTS[name[0]]
        number = _NUMBER.match(self._text, self._at)
        if not number or not number[0]:
            raise ValueError("no value")
        self._at = number.end()
        return _number(number[0])

    def _marked(self) -> str:
        mark = self._mark or ""
        start = self._at + len(mark)
        end = self._text.find(mark, start)
        if end < 0:
            raise ValueError("a string does not end")
        self._at = end + len(mark)
        return _writable(self._text[start:end])

    def _marked_or_bare(self) -> Json:
        if self._text.startswith(self._mark or "", self._at):
            return self._marked()
        bare = _BARE.match(self._text, self._at)
        if bare is None:
            raise ValueError("no value")
        self._at = bare.end()
        word = bare[0].strip()
        try:
            return parse(word)
        except ValueError:
            return _writable(word)


def _unescaped(found: re.Match[str]) -> str:
    escape = found[1]
    if len(escape) > 1:
        return chr(int(escape[1:], 16))
    return _ESCAPES.get(escape, escape if escape in "'\"\\" else "\\" + escape)


def _writable(text: str) -> str:
    text.encode()  # a half of a surrogate pair is a UnicodeEncodeError, which is a ValueError
    return text


def _number(text: str) -> Json:
    plain = text.replace("_", "").removeprefix("+")
    try:
        return parse(plain)
    except ValueError:
        return parse(repr(float(plain)))  # .5 and 1. are none in JSON

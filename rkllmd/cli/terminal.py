"""JSON for a person at a terminal: indented, in colours, long arrays of numbers shortened; none of this in a pipe.

Colours follow https://no-color.org: none with NO_COLOR, nor on a terminal that has none by its own account (TERM=dumb).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Final, TextIO

from rkllmd.json_types import Json, JsonObject

# Of a longer row of numbers only the first and the last ones are shown, so that what stands above it stays in sight.
_MOST_NUMBERS: Final = 16
_FIRST: Final = 6
_LAST: Final = 2
# A longer string of this form is a tensor in base64, which nobody reads; text has spaces.
_MOST_BASE64: Final = 100
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+=*")
# Partial results have four members, so each of a stream gets one line.
_MEMBERS_OF_A_LINE: Final = 4
# Control characters that JSON does not escape and a terminal may obey (ECMA-48, C1).
_CONTROLS: Final = re.compile("[\x7f-\x9f]")
# Those of a text, but for its lines and tabulators.
_CONTROLS_OF_TEXT: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_COLOURS: Final = {"key": "34;1", "string": "32", "number": "36", "other": "35", "note": "2"}


def takes_colours(output: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether colours may be written to ``output``."""
    return output.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") not in ("dumb", "")


class Printer:
    """Writes JSON values as text for a terminal."""

    def __init__(self, *, colours: bool, encoding: str = "utf-8") -> None:
        """Write for a terminal with this ``encoding``: characters that it may lack are escaped."""
        self._colours = colours
        self._is_unicode = encoding.lower().replace("-", "") in ("utf8", "utf16")

    def text(self, value: Json) -> str:
        """Return ``value`` on several lines, or on one if it is small."""
        is_small = isinstance(value, dict) and len(value) <= _MEMBERS_OF_A_LINE and not _is_nested(value)
        return self._value(value, None if is_small else 0)

    def _value(self, value: Json, depth: int | None) -> str:
        if isinstance(value, dict) and value:
            inner = None if depth is None else depth + 1
            keys = (self._paint("key", self._json(key)) for key in value)
            members = [f"{key}: {self._value(item, inner)}" for key, item in zip(keys, value.values(), strict=True)]
            return self._lines("{", members, "}", depth)
        if isinstance(value, list) and value:
            return self._list(value, depth)
        if isinstance(value, str):
            return self._string(value)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return self._paint("number" if is_number else "other", self._json(value))

    def _list(self, items: Sequence[Json], depth: int | None) -> str:
        is_row = all(isinstance(item, int | float) for item in items)
        if not _is_numeric(items):
            inner = None if depth is None else depth + 1
            return self._lines("[", [self._value(item, inner) for item in items], "]", depth)
        inner = None if depth is None or is_row else depth + 1
        shown = items if len(items) <= _MOST_NUMBERS else [*items[:_FIRST], *items[-_LAST:]]
        parts = [self._value(item, inner) for item in shown]
        note = ""
        if len(shown) < len(items):
            parts.insert(_FIRST, self._mark("…"))
            note = " " + self._mark(f"({len(items)} {'numbers' if is_row else 'rows'})")
        return self._lines("[", parts, "]", None if is_row else depth) + note

    def _string(self, value: str) -> str:
        if len(value) > _MOST_BASE64 and _BASE64.fullmatch(value):
            shown = self._paint("string", self._json(value[: _MOST_BASE64 // 2])[:-1])
            return f'{shown}{self._mark("…")}" {self._mark(f"({len(value)} characters)")}'
        return self._paint("string", self._json(value))

    def _json(self, value: Json) -> str:
        text = json.dumps(value, ensure_ascii=not self._is_unicode)
        return _escaped(_CONTROLS, text)

    def _mark(self, text: str) -> str:
        return self._paint("note", text if self._is_unicode else text.replace("…", "..."))

    def _lines(self, begin: str, parts: Sequence[str], end: str, depth: int | None) -> str:
        if depth is None:
            return begin + ", ".join(parts) + end
        indent = "  " * (depth + 1)
        return begin + "\n" + ",\n".join(indent + part for part in parts) + "\n" + "  " * depth + end

    def _paint(self, kind: str, text: str) -> str:
        return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if self._colours else text


def shown(text: str, output: TextIO) -> str:
    """Return a text as it may be written to ``output``: a terminal would obey the control characters in it.

    They may come from a model, from what it has read, or from another user. A carriage return, which some models put
    before each end of a line, would let the next words stand over those before it.
    """
    return _escaped(_CONTROLS_OF_TEXT, text.replace("\r", "")) if output.isatty() else text


def _escaped(controls: re.Pattern[str], text: str) -> str:
    return controls.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _is_nested(value: JsonObject) -> bool:
    return any(isinstance(item, dict) or (isinstance(item, list) and not _is_numeric(item)) for item in value.values())


def _is_numeric(items: Sequence[Json]) -> bool:
    """Return whether these are numbers, or rows of numbers at any depth."""
    return all(
        (isinstance(item, int | float) and not isinstance(item, bool)) or (isinstance(item, list) and _is_numeric(item))
        for item in items
    )


def write(value: Json, environ: Mapping[str, str]) -> None:
    """Write a value to standard output, which is a terminal."""
    printer = Printer(colours=takes_colours(sys.stdout, environ), encoding=sys.stdout.encoding)
    sys.stdout.write(printer.text(value) + "\n")
    sys.stdout.flush()

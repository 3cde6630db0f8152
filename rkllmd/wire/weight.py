"""How much a line will be once it is parsed: found before that, without parsing it.

16 MiB of ``[],[],…`` become six million lists: half a gigabyte, and seconds during which nobody else is served. Commas,
colons and brackets bound the number of values, and C counts them in a hundredth of the time. Only if there seem to be
too many, strings are left out in a second pass: a prompt full of commas is one value.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from typing import Final

import orjson

from rkllmd.errors import FrameTooLarge, ParseError
from rkllmd.json_types import Json
from rkllmd.quick_dataclass import dataclass
from rkllmd.wire.long_bytes import LongBytes

MAX_DEPTH: Final = 128
"""This many arrays and objects may be inside each other; a tensor has 16 dimensions at most."""
UNWEIGHED: Final = 4096
"""A line that is shorter is not worth looking at: its values take 200 kB at most."""
# A line that is shorter can't be nested too deeply.
_SHALLOW: Final = 2 * MAX_DEPTH
# Of all values, this many may be arrays and objects, and members of objects. A nested image of 640 x 640 pixels has
# 409,600 arrays. A member takes ten times as long as a number.
_ARRAYS_PART: Final = 4
_MEMBERS_PART: Final = 32
# What each takes in CPython 3.11 with the parser's own 16 bytes, rounded up: a float with its place in a list, a string
# of two characters; an empty list; an object with one member.
_VALUE_BYTES: Final = 64
_ARRAY_BYTES: Final = 96
_OBJECT_BYTES: Final = 208
# In times a line's length: what is left of it without base64, the parser's copy, and the strings; later the strings,
# and the copies that C gets. One wide character makes all of a string four bytes wide.
_PARSED_TIMES: Final = 3
_KEPT_TIMES: Final = 2
_WIDE_TIMES: Final = 3
# Each piece takes a few tenths of a millisecond, after which other threads have their turn.
_PIECE: Final = 1 << 16
_BRACKETS: Final = bytes(1 if code in b"[{" else 255 if code in b"]}" else 0 for code in range(256))
_NO_BRACKETS: Final = bytes(code for code in range(256) if code not in b"[]{}")
_HEAD: Final = 1024
_ID: Final = rb'"id"\s*:\s*("[^"\\\x00-\x1f]{0,128}"|-?[0-9]{1,20})'
_PLAIN_MEMBER: Final = rb'"[^"\\]{0,64}"\s*:\s*(?:"[^"\\]{0,256}"|-?[0-9]{1,20}|true|false|null)'
# Only a few members with plain values stand between the id and that end of the line, so it is the request's own.
_ID_FIRST: Final = re.compile(rb"\s*\{(?:\s*" + _PLAIN_MEMBER + rb"\s*,){0,8}\s*" + _ID + rb"\s*[,}]")
_ID_LAST: Final = re.compile(rb"[,{]\s*" + _ID + rb"(?:\s*,\s*" + _PLAIN_MEMBER + rb"){0,8}\s*\}\s*$")


@dataclass(frozen=True, slots=True)
class Weight:
    """How many bytes a line takes at most beside itself while it is parsed, and its values after that."""

    parsing: int
    kept: int


@dataclass(slots=True)
class _Counts:
    """Upper bounds of what is in a line."""

    arrays: int = 0
    objects: int = 0
    members: int = 0
    commas: int = 0
    depth: int = 0
    is_wide: bool = False

    @property
    def values(self) -> int:
        return self.arrays + self.objects + self.commas + self.members

    def add(self, text: bytes) -> None:
        self.arrays += text.count(b"[")
        self.objects += text.count(b"{")
        self.members += text.count(b":")
        self.commas += text.count(b",")

    def fault(self, most_values: int) -> ParseError | FrameTooLarge | None:
        """Return what is wrong with them."""
        if self.depth > MAX_DEPTH:
            return too_deep()
        for what, count, limit in (
            ("values", self.values, most_values),
            ("arrays and objects", self.arrays + self.objects, most_values // _ARRAYS_PART),
            ("members of objects", self.members, most_values // _MEMBERS_PART),
        ):
            if count > limit:
                return FrameTooLarge(
                    f"A line may hold at most {limit} {what} (max_values_per_request): send a tensor as base64 or by "
                    "file descriptor.",
                    limit=limit,
                )
        return None


def too_deep() -> ParseError:
    """Return the error for a line that is nested too deeply."""
    return ParseError(f"The line is nested more than {MAX_DEPTH} levels deep.", limit=MAX_DEPTH)


def is_too_deep(line: LongBytes) -> bool:
    """Return whether a short line is nested too deeply."""
    if len(line) <= _SHALLOW or not isinstance(line, bytes) or line.count(b"[") + line.count(b"{") <= MAX_DEPTH:
        return False
    return _exactly(line).depth > MAX_DEPTH


def weigh(line: LongBytes, most_values: int) -> Weight:
    """Return what a line will take. Raises ParseError if it is nested too deeply, FrameTooLarge for too many values."""
    counts = _roughly(line)
    if counts.fault(most_values) is not None:
        counts = _exactly(line)
        if (fault := counts.fault(most_values)) is not None:
            raise fault
    values = _VALUE_BYTES * (counts.commas + counts.members + 1)
    values += _ARRAY_BYTES * counts.arrays + _OBJECT_BYTES * counts.objects
    wide = _WIDE_TIMES * len(line) if counts.is_wide else 0
    return Weight(values + wide + _PARSED_TIMES * len(line), values + wide + _KEPT_TIMES * len(line))


def id_of(line: LongBytes) -> Json:
    """Return the id of a request that is not parsed, or only its beginning; None if it is not seen at an end of it."""
    found = _ID_FIRST.match(line[:_HEAD]) or _ID_LAST.search(line[-_HEAD:])
    if found is None:
        return None
    try:
        return orjson.loads(found.group(1))
    except orjson.JSONDecodeError:  # no UTF-8, or a leading zero
        return None


def _pieces(line: LongBytes) -> Iterator[bytes]:
    for start in range(0, len(line), _PIECE):
        if start:
            time.sleep(0)
        yield line[start : start + _PIECE]


def _roughly(line: LongBytes) -> _Counts:
    """Count everything, as if there were no strings."""
    counts = _Counts()
    for piece in _pieces(line):
        counts.add(piece)
        counts.is_wide = counts.is_wide or not piece.isascii() or b"\\u" in piece
    counts.depth = counts.arrays + counts.objects
    return counts


def _exactly(line: LongBytes) -> _Counts:
    """Count what is not inside strings."""
    counts = _Counts()
    depth = 0
    is_inside = False
    before = b""  # a backslash that ends a piece, whose next character is escaped
    for piece in _pieces(line):
        counts.is_wide = counts.is_wide or not piece.isascii() or b"\\u" in piece
        # Each pair of backslashes is one; after that, the quotes with one before them are inside a string.
        text = (before + piece).replace(rb"\\", b"")
        before = b"\\" if text.endswith(b"\\") else b""
        parts = text.removesuffix(b"\\").replace(rb"\"", b"").split(b'"')
        outside = b"".join(parts[is_inside::2])
        is_inside ^= len(parts) % 2 == 0
        counts.add(outside)
        steps = memoryview(outside.translate(_BRACKETS, _NO_BRACKETS)).cast("b")
        if len(steps):
            counts.depth = max(counts.depth, max(itertools.accumulate(steps, initial=depth)))
            depth += sum(steps)
    return counts

"""Megabytes of base64 in a JSON line, in and out, without holding Python's lock (the GIL) for milliseconds.

orjson reads and writes a string in one go with the GIL held: 8 MiB of base64 stop the event loop for 7 ms, whichever
thread calls it. So long base64 strings are taken out of a line before it is parsed, decoded in pieces, and put in their
places afterwards; and a long string in an answer is sent as the pieces that it was encoded in, never joined.
"""

from __future__ import annotations

import binascii
import gc
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import orjson

from rkllmd.json_types import Json
from rkllmd.wire.long_bytes import LongBytes, allocate

LONG: Final = 1 << 16
"""A shorter string costs orjson well under a millisecond."""
# Half of that: wherever a long string begins, one stride lies wholly inside it.
_STRIDE: Final = LONG // 2
_SEARCH_AT_ONCE: Final = 1 << 19
# Multiples of 3 bytes and 4 characters; each takes less than a tenth of a millisecond. The lock is given away after
# each one: a thread that waits for it would otherwise get it only after the switch interval, at each of several system
# calls.
_BYTES_AT_ONCE: Final = 3 << 13
_CHARACTERS_AT_ONCE: Final = 4 << 13

# Stands for a long string while its line is parsed or written. Nobody outside can know it, so nobody can send it.
_MARK: Final = secrets.token_hex(16)
# A key, or a string before more white space than anybody writes, which is not worth looking behind.
_END_OF_KEY: Final = re.compile(rb'"(?:\s{0,64}:|\s{65})')


class LongString:
    """A long base64 string from a client, decoded; ``str`` gives it back as it came."""

    __slots__ = ("data",)

    def __init__(self, data: bytearray | memoryview) -> None:
        self.data = data

    def __len__(self) -> int:
        """Return the number of characters."""
        return (len(self.data) + 2) // 3 * 4

    def __str__(self) -> str:
        return b"".join(encode(self.data)).decode("ascii")


class LongText:
    """A string for a client, in pieces that are never joined: ASCII characters, none of which JSON would escape."""

    __slots__ = ("pieces",)

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces


class LongJson:
    """A value that is encoded as JSON already, in pieces."""

    __slots__ = ("pieces",)

    def __init__(self, line: bytes | list[bytes]) -> None:
        """``line`` is what ``dumps`` has returned."""
        *self.pieces, last = [line] if isinstance(line, bytes) else line
        self.pieces.append(last.removesuffix(b"\n"))

    def __len__(self) -> int:
        """Return the number of bytes."""
        return sum(map(len, self.pieces))


def encode(data: bytes | bytearray | memoryview) -> Iterator[bytes]:
    """Yield ``data`` as base64, in pieces."""
    view = memoryview(data)
    for start in range(0, len(view), _BYTES_AT_ONCE):
        yield binascii.b2a_base64(view[start : start + _BYTES_AT_ONCE], newline=False)
        time.sleep(0)


def decode(text: bytes | memoryview) -> bytearray | memoryview:
    """Return base64 decoded, as bytes that can be written to. Raises ValueError."""
    size = len(text) // 4 * 3
    data = memoryview(allocate(size)) if size > LONG else memoryview(bytearray(size))
    end = 0
    for start in range(0, len(text), _CHARACTERS_AT_ONCE):
        piece = text[start : start + _CHARACTERS_AT_ONCE]
        # Padding ends the data; each piece by itself would accept it at the piece's own end.
        if start + _CHARACTERS_AT_ONCE < len(text) and piece[-1:] == b"=":
            raise ValueError("padding inside")
        decoded = binascii.a2b_base64(piece, strict_mode=True)
        data[end : end + len(decoded)] = decoded
        end += len(decoded)
        time.sleep(0)
    return data[:end]


def loads(line: LongBytes) -> Json:
    """Parse a line like ``orjson.loads``; long base64 strings in it become LongString. Raises JSONDecodeError."""
    if isinstance(line, bytes) and len(line) < LONG:
        return orjson.loads(line)
    rest, strings = _take_out(line)
    gc.disable()  # it would look at all arrays so far for each few hundred more: that takes longer than the parsing
    try:
        value = orjson.loads(rest)
    except orjson.JSONDecodeError as error:
        raise orjson.JSONDecodeError(error.msg, "", _position(error.pos, rest, strings)) from None
    finally:
        gc.enable()
    return _put_back(value, strings) if strings else value


def plain(value: Json) -> Json:
    """Return ``value`` with strings in the place of LongStrings, for places where nobody expects these."""
    return _replace(value, lambda item: str(item) if isinstance(item, LongString) else item)


def dumps(value: Json, *, as_sent: bool = False) -> bytes | list[bytes]:
    """Return the line of ``value``; in pieces if it holds LongText or LongJson. Raises TypeError.

    ``as_sent``: it is what a client has sent, and LongStrings become what they were.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # rarely: one of these is in it, or something that is no JSON at all
        return _dumps_in_pieces(value, as_sent=as_sent)


def _dumps_in_pieces(value: Json, *, as_sent: bool) -> bytes | list[bytes]:
    texts: list[LongText | LongJson] = []

    def stand_in(item: object) -> orjson.Fragment | str:
        if isinstance(item, LongJson):
            texts.append(item)
            return orjson.Fragment(_MARK)
        if as_sent and isinstance(item, LongString):
            item = LongText(list(encode(item.data)))
        if not isinstance(item, LongText):
            raise TypeError(f"{type(item).__name__} is not JSON")
        texts.append(item)
        return _MARK

    line = orjson.dumps(value, default=stand_in, option=orjson.OPT_APPEND_NEWLINE)
    if not texts:
        return line
    parts = line.split(_MARK.encode())
    pieces = [parts[0]]
    for text, part in zip(texts, parts[1:], strict=True):
        pieces += [*text.pieces, part]
    return pieces


def _take_out(line: LongBytes) -> tuple[bytes, list[LongString]]:
    """Return the line with a mark in the place of each long base64 string, and these strings."""
    strings: list[LongString] = []
    parts: list[bytes | memoryview] = []
    view = memoryview(line)
    done = 0
    position = 0
    while position + _STRIDE <= len(line):
        if line.find(b'"', position, position + _STRIDE) != -1:
            position += _STRIDE
            continue
        start = line.rfind(b'"', done, position) + 1
        end = _next_quote(line, position + _STRIDE)
        position = max(end, position + _STRIDE) if end != -1 else len(line)
        # An escaped quote is inside a string. What lies between two strings has a comma or a colon, so it is no base64.
        is_string = start and end - start >= LONG and line[start - 2 : start - 1] != b"\\"
        if is_string and not _END_OF_KEY.match(line, end):
            found = _decoded(view[start:end])
            if found is not None:
                parts += [view[done:start], f"{_MARK}{len(strings)}".encode()]
                strings.append(found)
                done = end
    parts.append(view[done:])
    return b"".join(parts), strings


def _next_quote(line: LongBytes, position: int) -> int:
    """Return where the next quote is, or -1. Goes in pieces: a search holds the lock, for 2 ms through 16 MiB."""
    while position < len(line):
        found = line.find(b'"', position, position + _SEARCH_AT_ONCE)
        if found != -1:
            return found
        position += _SEARCH_AT_ONCE
    return -1


def _decoded(text: memoryview) -> LongString | None:
    try:
        data = decode(text)
    except ValueError:
        return None
    tail = bytes(data[len(data) - (len(data) % 3 or 3) :])
    # If the text is another spelling of these bytes than ours, ``str`` could not give it back as it came.
    return LongString(data) if binascii.b2a_base64(tail, newline=False) == bytes(text[-4:]) else None


def _position(position: int, rest: bytes, strings: list[LongString]) -> int:
    """Return the character of the line that stands at ``position`` of what is left of it."""
    if not strings:
        return position
    before = rest.decode("utf-8", "replace")[:position]
    return position + sum(
        len(string) - len(_MARK) - len(str(index))
        for index, string in enumerate(strings)
        if f'{_MARK}{index}"' in before
    )


def _put_back(value: Json, strings: list[LongString]) -> Json:
    """Replace the marks in ``value``."""
    by_mark = {f"{_MARK}{index}": string for index, string in enumerate(strings)}
    return _replace(value, lambda item: by_mark.get(item, item) if isinstance(item, str) else item)


def _replace(value: Json, change: Callable[[Json], Json]) -> Json:
    """Change everything in ``value`` but containers and keys. Without recursion: a client decides how deep it is."""
    root = [value]
    stack: list[Json] = [root]
    while stack:
        container = stack.pop()
        items: Iterable[tuple[str | int, Json]] = (
            container.items() if isinstance(container, dict) else enumerate(container)
        )
        replace: Callable[[str | int, Json], None] = container.__setitem__
        for key, item in items:
            if isinstance(item, (dict, list)):
                stack.append(item)
            elif (changed := change(item)) is not item:
                replace(key, changed)
    return root[0]

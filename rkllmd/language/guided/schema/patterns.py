"""Which regular expressions of a schema (``pattern``, ``patternProperties``) mean the same to everybody who reads them.

JSON Schema means those of ECMAScript. The judge reads Rust's, and the last check Python's: what only one of them knows,
or what means something else to one of them, is refused. So is what would take long: repetitions are unrolled.
"""

from __future__ import annotations

from typing import Final

_LONGEST: Final = 512
# Of characters and classes, when all repetitions are written out: ((a{10}){10}){10} has 1000.
_MOST_PARTS: Final = 2000
# Of one with a repetition without an end in another one: (([ab]*a[ab]{400})|([ab]*b[ab]{390}))* takes the judge 2 ms a
# byte, and a second at some; with a sixth of the parts it is 2 µs.
_MOST_NESTED_PARTS: Final = 128
# Of those in one schema, where the judge may have to follow them at the same time.
MOST_NESTED_PARTS_OF_ALL: Final = 256
_DEEPEST: Final = 16

_CLASS_ESCAPES: Final = frozenset("dDwWsS")
_CHARACTER_ESCAPES: Final = frozenset("nrtfv")
_HEX_DIGITS: Final = {"x": 2, "u": 4}
_DIGITS: Final = frozenset("0123456789abcdefABCDEF")
_SYNTAX: Final = frozenset("\\^$.|?*+()[]{}")


class Unreadable(Exception):
    """Why a pattern is refused, as the end of a sentence that begins with its name."""


def check(pattern: str) -> int:
    """Return how many parts a pattern has if it has a repetition without an end in another one, else 0.

    Raises Unreadable for one that can't be kept.
    """
    if len(pattern) > _LONGEST:
        raise Unreadable(f"is longer than {_LONGEST} characters")
    reader = _Reader(pattern)
    parts = reader.alternatives(0)
    if not reader.at_end:
        raise Unreadable("has a ) without a (")
    if parts > _MOST_PARTS:
        raise Unreadable(f"has more than {_MOST_PARTS} parts when its repetitions are written out")
    if reader.is_nested and parts > _MOST_NESTED_PARTS:
        raise Unreadable(
            f"repeats a group with * or + in it, and has more than {_MOST_NESTED_PARTS} parts when its repetitions are "
            "written out"
        )
    return parts if reader.is_nested else 0


def escaped(text: str) -> str:
    """Return the pattern of a text as it is."""
    return "".join(f"\\{character}" if character in _SYNTAX else character for character in text)


class _Reader:
    """Reads a pattern from left to right; each method returns how many parts it has read, repetitions unrolled."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        # How many repetitions without an end were read, and whether one of them is in another repetition.
        self._endless = 0
        self.is_nested = False

    @property
    def at_end(self) -> bool:
        return self._at == len(self._pattern)

    def _next(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        char = self._next()
        if not char:
            raise Unreadable("ends too early")
        self._at += 1
        return char

    def _skip(self, text: str) -> bool:
        found = self._pattern.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def alternatives(self, depth: int) -> int:
        if depth > _DEEPEST:
            raise Unreadable(f"has more than {_DEEPEST} groups in each other")
        parts = 0
        while True:
            parts += self._sequence(depth)
            if not self._skip("|"):
                return parts

    def _sequence(self, depth: int) -> int:
        parts = 0
        while not self.at_end and self._next() not in "|)":
            # What begins or ends a line can't be repeated.
            parts += 0 if self._skip("^") or self._skip("$") else self._repeated_atom(depth)
        return parts

    def _repeated_atom(self, depth: int) -> int:
        before = self._endless
        parts = self._atom(depth)
        has_endless, end = self._endless > before, self._at
        times = self._repetitions()
        self.is_nested |= has_endless and self._pattern[end : self._at] not in ("", "?", "{1}")
        return parts * times

    def _atom(self, depth: int) -> int:
        char = self._take()
        if char == "(":
            if self._next() == "?" and not self._skip("?:"):
                raise Unreadable("has a group other than ( ) and (?: )")
            parts = self.alternatives(depth + 1)
            if not self._skip(")"):
                raise Unreadable("has a ( without a )")
            return parts
        if char == "[":
            self._class()
        elif char == "\\":
            self._escape()
        elif char != "." and char in _SYNTAX:
            raise Unreadable(f"has {char} in a place where it means nothing")
        return 1

    def _escape(self) -> str | None:
        """Return the character that an escape means; None for a class of characters."""
        char = self._take()
        if char in _CLASS_ESCAPES:
            return None
        if char in _CHARACTER_ESCAPES:
            return {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v"}[char]
        if char in _HEX_DIGITS:
            digits = "".join(self._take() for _ in range(_HEX_DIGITS[char]))
            if not _DIGITS.issuperset(digits) or 0xD800 <= int(digits, 16) < 0xE000:
                raise Unreadable(f"has \\{char} without the digits of a character")
            return chr(int(digits, 16))
        if char.isalnum() or char.isspace() or not char.isascii() or char in "_<>":
            raise Unreadable("has an escape other than \\d \\w \\s, their opposites, \\n \\r \\t \\f \\v \\xHH \\uHHHH")
        return char

    def _class(self) -> None:
        self._skip("^")
        if self._next() == "]":
            raise Unreadable("has [ ] without a character (write \\] for the character ])")
        self._skip("-")
        while not self._skip("]"):
            first = self._class_member()
            if self._skip("-"):
                if self._skip("]"):
                    return
                last = self._class_member()
                if first is None or last is None or last < first:
                    raise Unreadable("has a range that is none (write \\- for the character -)")

    def _class_member(self) -> str | None:
        char = self._take()
        if char == "\\":
            return self._escape()
        # Rust knows classes in classes, && and --.
        if char in "[]-" or (char in "&~|" and self._next() == char):
            raise Unreadable(f"has {char} in [ ], which must be written \\{char}")
        return char

    def _repetitions(self) -> int:
        char = self._next()
        if char in ("*", "+", "?"):
            self._at += 1
            self._endless += char != "?"
            most = 1
        elif char == "{":
            most = self._counted()
        else:
            return 1
        self._skip("?")
        if self._next() in ("*", "+", "?", "{"):
            raise Unreadable("repeats a repetition")
        return most

    def _counted(self) -> int:
        body, found, _ = self._pattern[self._at + 1 :].partition("}")
        least, comma, most = body.partition(",")
        numbers = [number for number in (least, most) if number]
        if not found or not least or not all(number.isascii() and number.isdigit() for number in numbers):
            raise Unreadable("has { in a place where it means nothing (write \\{)")
        if any(len(number) > 4 for number in numbers) or (comma and most and int(most) < int(least)):
            raise Unreadable("has a repetition of more than 9999 times, or with its numbers the wrong way round")
        self._at += len(body) + 2
        self._endless += bool(comma and not most)
        return max(*map(int, numbers), 1)

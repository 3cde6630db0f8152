"""The shortest text that makes an answer whole, found by trying: the judge is asked about bytes, level by level.

On each level there are beginnings of the same length. Of those that seem to be in the same state, because they allow
the same bytes now and after some others, few are kept. What ends something (a quotation mark, a bracket) is tried
alone: nothing is shorter.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from rkllmd.quick_dataclass import dataclass

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from rkllmd.language.guided.place import Place

MOST_BYTES: Final = 3000
# How many bytes are tried in all: some hundred milliseconds.
_MOST_TRIES: Final = 8_000
# For schemas that were made to take long: a try takes up to half a second.
_MOST_SECONDS: Final = 5.0
# How many beginnings of one length there are, and of those in the same state, as far as that can be seen. Digits of a
# number look alike, but it may have to be a multiple of something.
_BESIDE: Final = 16
_ALIKE: Final = 1
_NUMBERS_ALIKE: Final = 12

_QUOTE: Final = b'"'
_CLOSING: Final = b"}]"
_BACKSLASH: Final = b"\\"
_SPACES: Final = b" \n"
# What a value may begin with, the shortest first; of a string's characters these few stand for all, if they are legal.
_PREFERRED: Final = b'0123456789"nft-,:[{ae.-_ZT+/@E'
# More bytes than these mean that nearly any will do.
_FEW: Final = 32
_SOME: Final = 4
_MOST_HINTS: Final = 24
# How often a byte is tried behind itself, to see how far a string is from where it may end.
_RUN: Final = 4


@dataclass(slots=True)
class _Beginning:
    matcher: LLMatcher
    place: Place
    text: bytes
    # The bytes that may follow, a bit each.
    mask: int
    # How many quotation marks there are in the text, and where the last one is.
    quotes: int = 0
    last_quote: int = 0
    # In which state it is, as far as that can be seen; None: nobody has looked.
    state: object = None

    @property
    def order(self) -> tuple[int, int, int]:
        """Return by what those that are further come first: more strings ended, and earlier; fewer ways to go on."""
        return -self.quotes, self.last_quote, self.mask.bit_count()


def shortest(matcher: LLMatcher, place: Place, hints: bytes, most: int) -> bytes | None:
    """Return the shortest ending that is found in ``most`` bytes; None if none is.

    ``hints``: what may be needed in strings (of the regular expressions of the schema).
    """
    search = _Search(bytes(dict.fromkeys(hints[:_MOST_HINTS] + _PREFERRED)), hints[:2] + b"a0")
    level = [_Beginning(matcher, place, b"", _mask(matcher))]
    until = time.monotonic() + _MOST_SECONDS
    while level and len(level[0].text) <= most and search.tries < _MOST_TRIES and time.monotonic() < until:
        for beginning in level:
            if beginning.matcher.is_accepting():
                return beginning.text
        level = search.next_level(level)
    return None


class _Search:
    """What is known while one ending is looked for."""

    def __init__(self, preferred: bytes, probes: bytes) -> None:
        self.tries = 0
        # For each state in a string: of the bytes that were tried there, one for each state that followed.
        self._different: dict[object, list[int]] = {}
        self._preferred = preferred
        self._probes = probes

    def next_level(self, level: list[_Beginning]) -> list[_Beginning]:
        """Return beginnings that are a byte longer."""
        following: dict[object, list[_Beginning]] = {}
        for beginning in sorted(level, key=lambda one: one.order):
            beginning.state = beginning.state or self._state(beginning)
            known = self._different.get(beginning.state) if beginning.place.in_string else None
            choices = known or self._choices(beginning)
            self.tries += len(choices)
            led_to: dict[object, int] = {}
            for byte in choices:
                after = _after(beginning, byte, alone=len(choices) == 1)
                if after is not None:
                    after.state = self._state(after)
                    led_to.setdefault(after.state, byte)
                    alike = following.setdefault(after.state, [])
                    if len(alike) < (_ALIKE if after.place.in_string else _NUMBERS_ALIKE):
                        alike.append(after)
            self._different[beginning.state] = list(led_to.values())
        found = [beginning for alike in _in_turn(following.values()) for beginning in alike]
        return sorted(found[: 2 * _BESIDE], key=lambda one: one.order)[:_BESIDE]

    def _choices(self, beginning: _Beginning) -> list[int]:
        mask, in_string = beginning.mask, beginning.place.in_string
        ends = [byte for byte in (_QUOTE if in_string else _CLOSING) if mask >> byte & 1]
        if ends:
            return ends
        preferred = [byte for byte in self._preferred if mask >> byte & 1]
        others = [byte for byte in range(256) if mask >> byte & 1 and byte not in self._preferred]
        if preferred or len(others) > 1:
            left_out = _BACKSLASH if in_string else _SPACES
            others = [byte for byte in others if byte not in left_out]
        # Many are legal in most strings, and one is as good as another; few are those of a constant or a pattern.
        return preferred + (others if len(others) <= _FEW else others[:_SOME])

    def _state(self, beginning: _Beginning) -> object:
        """Return what shows in which state a beginning is."""
        if not beginning.place.in_string or beginning.mask.bit_count() == 1:
            return beginning.mask
        wide = beginning.mask.bit_count() > _FEW
        later = [self._later(beginning, probe, _RUN if wide else 1) for probe in self._probes]
        return beginning.mask, *later

    def _later(self, beginning: _Beginning, probe: int, most: int) -> tuple[int, ...]:
        """Return what may follow after a byte, after two of it, and so on, until the string may end."""
        matcher, masks = beginning.matcher, [beginning.mask]
        while len(masks) <= most and masks[-1] >> probe & 1 and not masks[-1] >> _QUOTE[0] & 1:
            matcher.consume_token(probe)
            masks.append(_mask(matcher))
        self.tries += len(masks) - 1
        matcher.rollback(len(masks) - 1)
        return tuple(masks)


def _in_turn(groups: Iterable[list[_Beginning]]) -> list[list[_Beginning]]:
    """Return the first of each group, then the second of each, and so on: none is crowded out by another."""
    rows = list(groups)
    return [[group[index] for group in rows if index < len(group)] for index in range(max(map(len, rows), default=0))]


def _after(beginning: _Beginning, byte: int, *, alone: bool) -> _Beginning | None:
    matcher = beginning.matcher if alone else beginning.matcher.deep_copy()
    if not matcher.consume_token(byte):
        return None
    place = beginning.place.copy()
    place.go_on(bytes([byte]))
    after = _Beginning(matcher, place, beginning.text + bytes([byte]), _mask(matcher))
    ends_string = place.in_string != beginning.place.in_string
    after.quotes = beginning.quotes + ends_string
    after.last_quote = len(after.text) if ends_string else beginning.last_quote
    return after


def _mask(matcher: LLMatcher) -> int:
    return int.from_bytes(matcher.compute_bitmask()[:32], "little")

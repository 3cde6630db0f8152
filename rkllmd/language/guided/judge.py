"""Judges the text of an answer byte by byte: what is legal, what must follow, how it ends soonest. Without I/O.

Whether a schema lets an answer end is asked of llguidance (grammar.py). Only one thing is known here besides: whether
the text stands in a string, where a space is a character like others; elsewhere it may be left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkllmd.language.guided import ending
from rkllmd.language.guided.place import Place

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from rkllmd.language.guided.grammar import Grammar

# No more than this is forced in one go: a name of a property, or a long constant in parts.
_MOST_FORCED: Final = 512
_SPACES: Final = frozenset(b" \n")


class Judge:
    """Follows one answer through a grammar."""

    def __init__(self, grammar: Grammar) -> None:
        """Begin an answer."""
        self._matcher = grammar.on_bytes()
        self._place = Place()
        self._hints = grammar.hints

    def accept(self, data: bytes) -> int:
        """Go on with as much of ``data`` as is legal, and return how many bytes that is."""
        taken = self._matcher.try_consume_tokens(list(data))
        self._place.go_on(data[:taken])
        return taken

    @property
    def may_end(self) -> bool:
        """Return whether the answer is whole."""
        return self._matcher.is_accepting()

    @property
    def is_complete(self) -> bool:
        """Return whether nothing can follow."""
        return self._matcher.is_stopped()

    @property
    def error(self) -> str | None:
        """Return why nothing can be judged any more: the schema was too much for the judge."""
        return self._matcher.get_error() or None

    def forced(self) -> bytes:
        """Return what must follow, whatever the model would like to say.

        Of the spaces that can be left out it has those that models write: behind a colon or comma that is not the last.
        """
        matcher, place = self._matcher.deep_copy(), self._place.copy()
        forced = bytearray()
        while len(forced) < _MOST_FORCED and not matcher.is_accepting():
            choice = self._real_choice(matcher, place)
            if len(choice) != 1 or not matcher.consume_token(choice[0]):
                break
            forced += bytes(choice)
            place.go_on(bytes(choice))
        spaced = self._place.copy().with_spaces(bytes(forced))
        return spaced if self.would_accept(spaced) else bytes(forced)

    def would_accept(self, data: bytes) -> bool:
        """Return whether all of ``data`` is legal; the answer does not go on."""
        return bool(self._matcher.validate_tokens(list(data)) == len(data))

    def next_words(self) -> bytes:
        """Return how the shortest end begins, up to where there is a choice again; nothing if none is known."""
        end = self.shortest_end() or b""
        matcher, place = self._matcher.deep_copy(), self._place.copy()
        for count, byte in enumerate(end, 1):
            matcher.consume_token(byte)
            place.go_on(bytes([byte]))
            is_whole = byte < 0x80 or not any(0x80 <= choice < 0xC0 for choice in allowed(matcher))
            if is_whole and len(self._real_choice(matcher, place)) > 1:
                return end[:count]
        return end

    @staticmethod
    def _real_choice(matcher: LLMatcher, place: Place) -> list[int]:
        """Return the bytes that may follow, without the spaces that can be left out."""
        choice = allowed(matcher)
        return choice if place.in_string or len(choice) < 2 else [byte for byte in choice if byte not in _SPACES]

    def shortest_end(self, most: int = ending.MOST_BYTES) -> bytes | None:
        """Return a short text after which the answer is whole; None if ``most`` bytes are not known to be enough."""
        return ending.shortest(self._matcher.deep_copy(), self._place.copy(), self._hints, most)


def allowed(matcher: LLMatcher) -> list[int]:
    """Return the bytes that may follow."""
    mask = int.from_bytes(matcher.compute_bitmask()[:32], "little")
    found = []
    while mask:
        lowest = mask & -mask
        found.append(lowest.bit_length() - 1)
        mask ^= lowest
    return found

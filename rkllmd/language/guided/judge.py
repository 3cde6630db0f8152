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
        """Return what must follow, whatever the model would like to say, with no space that can be left out."""
        matcher, place = self._matcher.deep_copy(), self._place.copy()
        forced = bytearray()
        while len(forced) < _MOST_FORCED and not matcher.is_accepting():
            choice = allowed(matcher)
            if not place.in_string and len(choice) > 1:
                choice = [byte for byte in choice if byte not in _SPACES]
            if len(choice) != 1 or not matcher.consume_token(choice[0]):
                break
            forced += bytes(choice)
            place.go_on(bytes(choice))
        return bytes(forced)

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

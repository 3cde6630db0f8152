"""Finds strings in a text that comes in pieces, and holds back what may still become one.

They are the stop strings of a run, and the marks by which a model says what it means.

Of all matches in the whole text, the one that begins first counts, and of those that begin there the longest; how the
text was cut into pieces makes no difference. Without I/O. The cost is linear in the text, whatever the strings are: an
automaton after Aho and Corasick, whose state is the longest end of the text with which a stop string begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import field
from functools import cache

from rkllmd.quick_dataclass import dataclass


@dataclass(slots=True, eq=False)
class Beginning:
    """A beginning of a stop string."""

    depth: int
    next: dict[str, Beginning] = field(default_factory=dict)
    # The node of the longest proper end of this beginning that is a beginning too; None for the root.
    fallback: Beginning | None = None
    # How long the longest stop string is with which this beginning ends; 0: none.
    match: int = 0
    # How long the longest end of this beginning is that could still become a stop string.
    live: int = 0


class StopMatcher:
    """Passes a text on until a stop string comes; what it shows never has a part of one that is found later."""

    __slots__ = ("_best", "_held", "_node", "_root", "found", "rest")

    def __init__(self, strings: Iterable[str] | Beginning) -> None:
        """``strings`` are the stop strings, none of them empty, or what ``automaton`` has made of them."""
        # The stop string that was found, and what had come after it by then.
        self.found: str | None = None
        self.rest = ""
        self._root = self._node = strings if isinstance(strings, Beginning) else automaton(strings)
        self._held = ""
        # Where in what is held the best match so far begins, and how long it is.
        self._best: tuple[int, int] | None = None

    @property
    def starts(self) -> Iterable[str]:
        """Return the characters with which a stop string begins."""
        return self._root.next

    @property
    def is_clear(self) -> bool:
        """Return whether ``feed`` would return a piece without any of ``starts`` as it is, and change nothing."""
        return self._node is self._root and self.found is None

    def feed(self, text: str) -> str:
        """Take the next piece and return what can be shown now; after a match nothing any more."""
        if self.found is not None:
            return ""
        if self.is_clear and self._root.next.keys().isdisjoint(text):
            return text
        before, held, node, best = len(self._held), self._held + text, self._node, self._best
        for end, char in enumerate(text, before + 1):
            node = self._step(node, char)
            if node.match and (best is None or end - node.match <= best[0]):
                best = (end - node.match, node.match)
            if best is not None and end - node.live > best[0]:  # nothing can begin there or earlier any more
                return self._find(held, best)
        keep = len(held) - node.live
        if best is not None:
            keep = min(keep, best[0])
            best = (best[0] - keep, best[1])
        self._held, self._node, self._best = held[keep:], node, best
        return held[:keep]

    def end(self) -> str:
        """Return what was held back, up to a stop string if there is one: the text has ended."""
        held, self._held = self._held, ""
        self._node = self._root
        if self._best is None:
            return held
        best, self._best = self._best, None
        return self._find(held, best)

    def _find(self, held: str, best: tuple[int, int]) -> str:
        start, length = best
        self.found, self.rest = held[start : start + length], held[start + length :]
        self._held, self._best = "", None
        return held[:start]

    @staticmethod
    def _step(node: Beginning, char: str) -> Beginning:
        while True:
            found = node.next.get(char)
            if found is not None:
                return found
            if node.fallback is None:
                return node
            node = node.fallback


def automaton(strings: Iterable[str]) -> Beginning:
    """Return the empty beginning, from which all others can be reached; it may serve many matchers at once."""
    root = Beginning(0)
    for string in strings:
        node = root
        for depth, char in enumerate(string, 1):
            node = node.next.setdefault(char, Beginning(depth))
        node.match = node.depth
    waiting = deque([root])
    while waiting:  # by depth: the fallback of a node is complete before the node
        node = waiting.popleft()
        for char, child in node.next.items():
            child.fallback = root if node is root else StopMatcher._step(_fallback(node), char)
            child.match = child.match or child.fallback.match
            child.live = child.depth if child.next else child.fallback.live
            waiting.append(child)
    return root


def _fallback(node: Beginning) -> Beginning:
    assert node.fallback is not None, "only the root has none"
    return node.fallback


@cache
def marks(strings: tuple[str, ...]) -> Beginning:
    """Return the automaton for the marks of a dialect; there are few of them, all known in advance."""
    return automaton(strings)

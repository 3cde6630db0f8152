"""What a model thinks before it answers: ``<think>…</think>`` and its relatives, at the beginning of the answer only.

A mark that comes later is what the model writes about, as with llama.cpp. Whitespace around the reasoning, and after
it, belongs to nobody. Reasoning that does not end is all reasoning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rkllmd.chat.answers.events import Event, Reading, Reasoning
from rkllmd.chat.answers.prose import Prose
from rkllmd.chat.answers.source import Source
from rkllmd.chat.answers.stop import StopMatcher, marks
from rkllmd.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Tags:
    """What reasoning stands between."""

    opening: str
    closing: str


THINK: Final = Tags("<think>", "</think>")

# Those that are known of published models.
KNOWN: Final = (
    THINK,
    Tags("<thinking>", "</thinking>"),
    Tags("<thought>", "</thought>"),
    Tags("<reasoning>", "</reasoning>"),
    Tags("<seed:think>", "</seed:think>"),
    Tags("<|thinking|>", "<|/thinking|>"),
    Tags("<|think|>", "<|/think|>"),
    Tags("<|thought_start|>", "<|thought_end|>"),
    Tags("<|START_THINKING|>", "<|END_THINKING|>"),
    Tags("[THINK]", "[/THINK]"),
    Tags("<|channel>thought", "<channel|>"),
)


class Thoughts:
    """Passes reasoning on without the whitespace around it."""

    __slots__ = ("_emit", "_has_begun", "_space")

    def __init__(self, emit: Callable[[Event], None]) -> None:
        """``emit`` takes what is found."""
        self._emit = emit
        self._has_begun = False
        self._space: list[str] = []

    def write(self, text: str) -> None:
        """Take the next piece; whitespace at its end waits for what follows."""
        words = text.rstrip()
        if not words:
            self._space.append(text)
            return
        before = "".join(self._space) if self._has_begun else ""
        self._space = [text[len(words) :]]
        self._emit(Reasoning(before + (words if self._has_begun else words.lstrip())))
        self._has_begun = True


def reasoning(
    source: Source, prose: Prose, emit: Callable[[Event], None], tags: tuple[Tags, ...], *, is_open: bool
) -> Reading[None]:
    """Read the beginning of an answer up to where reasoning ends, if there is any.

    ``is_open``: the prompt ends with the opening mark, so that only the closing one comes. A model that writes the
    opening one nevertheless means the same.
    """
    source.attempt()
    yield from source.skip_space()
    opening = (yield from source.literal(*(each.opening for each in tags))) if tags else ""
    if not opening and not (is_open and tags):
        prose.write(source.attempted())
        return
    source.attempt()
    closing = tuple(each.closing for each in tags if not opening or each.opening == opening)
    matcher, thoughts = StopMatcher(marks(closing)), Thoughts(emit)
    while matcher.found is None:
        thoughts.write(matcher.feed(source.take_all()))
        if source.has_ended:
            thoughts.write(matcher.end())
            break
        if matcher.found is None:
            yield
    source.put_back(matcher.rest)
    prose.mark()

"""Answers that are kept to a form where functions may be called: one that begins with a call's mark is no such answer.

What a mark begins elsewhere, in a string of the JSON, is text as all else there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rkllmd.chat.answers.events import Reading
from rkllmd.chat.answers.tool_calls.call import Answer


def formed(openings: Sequence[str], calls: Callable[[Answer], Reading[None]]) -> Callable[[Answer], Reading[None]]:
    """Return what reads such an answer: by ``calls`` where it begins with one of ``openings``, else as it is."""

    def read(answer: Answer) -> Reading[None]:
        answer.source.attempt()
        yield from answer.source.skip_space()
        opening = (yield from answer.source.literal(*openings)) if openings else ""
        if opening:
            answer.source.put_back(opening)
            yield from calls(answer)
        else:
            answer.fail()
            yield from answer.rest()

    return read

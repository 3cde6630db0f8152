"""How likely each token of an answer was, and which others were, as the runtime says it in its callbacks. Without I/O.

A token is told with the text that it has a part in: with stop strings, not before it is known to be shown.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import orjson
from orjson import Fragment

from rkllmd.chat.answers.stop import StopMatcher
from rkllmd.json_types import JsonObject
from rkllmd.portable.extension import Likely

# What stands for the logarithm of 0, which JSON can't carry; as in OpenAI's protocol.
_NEVER: Final = -9999.0


class Likelihoods:
    """Those of one answer, from the callback of a token to the partial result that tells it."""

    def __init__(self, ask: Callable[[], list[Likely]], stop: Sequence[str] = (), *, keeps: bool = False) -> None:
        """``ask`` returns the token of the callback that asks, then the likeliest ones; ``stop`` are stop strings.

        ``keeps``: all of them are wanted at the end, and not as they come.
        """
        self._ask = ask
        self._keeps = keeps
        self._stop = StopMatcher(stop) if stop else None
        # Those of which no partial result was made yet.
        self._taken: deque[list[Likely]] = deque()
        # Those that may become a part of a stop string, each with where its text begins and ends.
        self._held: deque[tuple[int, int, Fragment]] = deque()
        self._came = self._shown = 0
        self._told: list[Fragment] = []

    def take(self) -> None:
        """Ask for the next token, in its callback."""
        self._taken.append(self._ask())

    def tell(self, data: bytes | None) -> list[Fragment]:
        """Go on with the text of that token; return what can be told now, in JSON."""
        begin = self._came
        text = (data or b"").decode("utf-8", "replace")
        self._came += len(text)
        self._shown += len(text if self._stop is None else self._stop.feed(text))
        token = _token(self._taken.popleft())
        if token is not None:
            self._held.append((begin, self._came, token))
        return self._let_go(lambda begin, end: end <= self._shown)

    def end(self) -> list[Fragment]:
        """Return what was held back, up to a stop string; all of them where they were kept."""
        if self._stop is not None:
            self._shown += len(self._stop.end())
        is_stopped = self._stop is not None and self._stop.found is not None
        rest = self._let_go(lambda begin, end: begin < self._shown or not is_stopped)
        return self._told if self._keeps else rest

    def _let_go(self, is_shown: Callable[[int, int], bool]) -> list[Fragment]:
        found = []
        while self._held and is_shown(*self._held[0][:2]):
            found.append(self._held.popleft()[2])
        if not self._keeps:
            return found
        self._told += found
        return []


def _token(likely: list[Likely]) -> Fragment | None:
    """Return a token as results have it; None where the runtime did not say anything of it.

    It is encoded, since of a long answer there may be thousands, each with twenty others.
    """
    if not likely:
        return None
    own, *others = likely
    return Fragment(orjson.dumps({**_shown(own), "top_logprobs": [_shown(other) for other in others]}))


def _shown(likely: Likely) -> JsonObject:
    logprob = likely.logprob if math.isfinite(likely.logprob) else _NEVER
    text = likely.text.decode("utf-8", "replace")
    return {"token_id": likely.token_id, "token": text, "bytes": [*likely.text], "logprob": logprob}
